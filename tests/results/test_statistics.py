import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from aepretrain.results.statistics import paired_difference, sampling_error, verdict

ACCURACIES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


def test_the_interval_is_that_of_the_paired_t_test_of_scipy():
    a, b = np.random.default_rng(0).random((2, 7))
    found = paired_difference(list(a), list(b))
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx((a - b).mean())
    assert found.std == pytest.approx(np.std(a - b, ddof=1))


def test_the_bootstrap_interval_is_that_of_scipy():
    a, b = np.random.default_rng(1).random((2, 12))
    found = paired_difference(list(a), list(b)).bootstrap
    reference = scipy.stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=10_000, rng=0)
    assert found == pytest.approx(tuple(reference.confidence_interval), abs=0.02)


@settings(max_examples=50, deadline=None)
@given(pairs=ACCURACIES)
def test_swapping_the_arms_turns_every_figure_around(pairs):
    a, b = (list(values) for values in zip(*pairs, strict=True))
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.mean == pytest.approx(-other.mean)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.bootstrap[0] <= one.mean + 1e-9
    assert one.mean <= one.bootstrap[1] + 1e-9


def test_one_pair_has_no_interval():
    found = paired_difference([0.9], [0.8])
    assert math.isnan(found.std)
    assert found.interval == (-math.inf, math.inf)
    assert verdict(found, "all labels") == "cannot tell at all labels: 1 seed is too few, at least 3 are needed"


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ([0.95, 0.94, 0.96], [0.90, 0.90, 0.90], "helps: +5.0 points [2.5, 7.5] at 50 labels, 3 of 3 seeds"),
        ([0.90, 0.90, 0.90], [0.95, 0.94, 0.96], "hurts: -5.0 points [-7.5, -2.5] at 50 labels, 3 of 3 seeds"),
        (
            [0.90, 0.92, 0.88],
            [0.90, 0.90, 0.90],
            "undecided: between -5.0 and +5.0 points at 50 labels, mean +0.0 over 3 seeds",
        ),
        ([0.900, 0.904, 0.896], [0.90, 0.90, 0.90], "no difference seen: +0.0 points [-1.0, 1.0] at 50 labels"),
        ([0.90] * 3, [0.90] * 3, "no difference seen: +0.0 points [0.0, 0.0] at 50 labels"),
    ],
)
def test_the_verdict_says_what_the_interval_says(a, b, sentence):
    assert verdict(paired_difference(a, b), "50 labels") == sentence


def test_the_sampling_error_is_the_spread_of_binomial_shares():
    shares = np.random.default_rng(0).binomial(300, 0.9, 100_000) / 300
    assert sampling_error(0.9, 300) == pytest.approx(shares.std(), rel=0.01)


def test_pairs_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1 values"):
        paired_difference([0.1, 0.2], [0.1])


def test_joint_intervals_hold_together_as_often_as_they_claim():
    generator = np.random.default_rng(0)
    questions, pairs, trials = 4, 5, 2000
    single = joint = 0
    for _ in range(trials):
        found = [
            paired_difference(values.tolist(), [0.0] * pairs, questions=questions)
            for values in generator.normal(size=(questions, pairs))
        ]
        single += all(each.interval[0] <= 0 <= each.interval[1] for each in found)
        joint += all(each.joint[0] <= 0 <= each.joint[1] for each in found)
    assert joint / trials >= 0.94
    assert single / trials < 0.88


def test_the_margin_of_no_difference_can_be_set():
    found = paired_difference([0.90, 0.92, 0.88], [0.90, 0.90, 0.90])
    assert verdict(found, "50 labels", margin=6.0).startswith("no difference seen")
    assert verdict(found, "50 labels", margin=4.9).startswith("undecided")


def test_seeds_that_agree_by_chance_on_few_test_examples_decide_nothing():
    b = np.array([0.953125, 0.9609375, 0.9765625])
    agreeing = paired_difference(list(b + 1 / 128), list(b), examples=128)
    assert agreeing.std == 0
    assert verdict(agreeing, "all labels").startswith("undecided: between -1.2 and +2.7 points")
    equal = paired_difference(list(b), list(b), examples=66)
    assert verdict(equal, "all labels").startswith("undecided")
    assert verdict(paired_difference(list(b), list(b), examples=10_000), "all labels").startswith("no difference seen")
    assert verdict(paired_difference(list(b + 0.2), list(b), examples=128), "all labels").startswith("helps")


@given(st.integers(1, 60), st.integers(1, 60), st.integers(121, 500))
def test_the_least_spread_is_that_of_the_most_orderly_examples(gained, lost, examples):
    outcomes = np.array([1] * gained + [-1] * lost + [0] * (examples - gained - lost))
    found = paired_difference([outcomes.mean()] * 3, [0.0] * 3, examples=examples)
    half = (found.interval[1] - found.interval[0]) / 2
    spread = outcomes.std() / math.sqrt(examples)
    assert half <= scipy.stats.t.ppf(0.975, 2) * spread / math.sqrt(3) * (1 + 1e-9)
