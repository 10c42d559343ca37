import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from aepretrain.results.metric import METRICS
from aepretrain.results.statistics import (
    PairedDifference,
    paired_difference,
    r2,
    r2_difference_error,
    r2_error,
    root_mean_square,
    sampling_error,
    verdict,
)

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
    two = paired_difference([0.9, 0.9], [0.1, 0.2])
    assert verdict(two, "all labels") == "cannot tell at all labels: 2 seeds are too few, at least 3 are needed"


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


def test_the_sampling_error_of_all_right_or_all_wrong_is_that_of_one_example():
    one = math.sqrt(47) / 48 / math.sqrt(48)
    assert [sampling_error(accuracy, 48) for accuracy in (1.0, 0.0)] == pytest.approx([one, one])
    assert sampling_error(1.0, 1) == sampling_error(0.0, 1) == 0.5
    lone = paired_difference([1.0, 1.0, 1.0], [0.0, 0.0, 0.0], examples=48)
    assert lone.interval[0] < 1 < lone.interval[1]


def test_the_sampling_error_is_the_spread_of_binomial_shares():
    shares = np.random.default_rng(0).binomial(300, 0.9, 100_000) / 300
    assert sampling_error(0.9, 300) == pytest.approx(shares.std(), rel=0.01)


def test_pairs_that_do_not_match_are_refused():
    for a, b in (([0.1, 0.2], [0.1]), ([], []), ([], [0.1])):
        with pytest.raises(ValueError, match=f"got {len(a)} and {len(b)} values"):
            paired_difference(a, b)


@pytest.mark.parametrize("questions", [1, 4])
def test_joint_intervals_are_those_of_scipy_with_the_error_shared_by_the_questions(questions):
    a, b = np.random.default_rng(0).random((2, 7))
    found = paired_difference(list(a), list(b), questions=questions)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval(1 - 0.05 / questions)
    assert found.joint == pytest.approx((expected.low, expected.high))


def test_two_pairs_are_enough_for_an_interval():
    expected = scipy.stats.ttest_rel([0.9, 0.8], [0.6, 0.7]).confidence_interval(0.95)
    assert paired_difference([0.9, 0.8], [0.6, 0.7]).interval == pytest.approx((expected.low, expected.high))


def test_a_single_question_and_a_margin_of_one_point_are_the_defaults():
    near = PairedDifference(0.0, 0.01, (-0.015, 0.01), (-0.015, 0.01), 1, 1, 3)
    assert verdict(near, "L") == verdict(near, "L", margin=1.0) != verdict(near, "L", margin=1.5)
    just = PairedDifference(0.0, 0.01, (-0.01, 0.01), (-0.01, 0.01), 1, 1, 3)
    assert verdict(just, "L").startswith("no difference seen")
    found = paired_difference([0.9, 0.7, 0.8], [0.5, 0.6, 0.6])
    assert found.joint == found.interval


@pytest.mark.parametrize("values", [[1, 0, 1], [True, False, True], [0.5, 0.25, 0.125]])
def test_differences_are_those_of_numbers_whatever_their_type(values):
    found, reference = paired_difference(values, [False, True, True]), np.asarray(values, float) - [0, 1, 1]
    assert found.mean == pytest.approx(reference.mean())
    assert (found.wins, found.losses, found.pairs) == ((reference > 0).sum(), (reference < 0).sum(), 3)


BOUNDS = st.integers(-15, 15).map(lambda fifths: fifths / 5)  # so that their mean is a whole number of tenths


@settings(max_examples=150, deadline=None)
@given(bounds=st.tuples(BOUNDS, BOUNDS).map(sorted), margin=st.sampled_from([0.0, 1.0, 2.5]))
def test_the_verdict_reads_both_ends_of_the_interval(bounds, margin):
    low, high = bounds
    mean, interval = (low + high) / 2, (low / 100, high / 100)
    found = PairedDifference(mean / 100, 0.1, interval, interval, wins=2, losses=1, pairs=3)
    figures = f"{mean:+.1f} points [{low:.1f}, {high:.1f}] at L"
    if low > 0:
        expected = f"helps: {figures}, 2 of 3 seeds"
    elif high < 0:
        expected = f"hurts: {figures}, 1 of 3 seeds"
    elif max(-low, high) <= margin:
        expected = f"no difference seen: {figures}"
    else:
        expected = f"undecided: between {low:+.1f} and {high:+.1f} points at L, mean {mean:+.1f} over 3 seeds"
    assert verdict(found, "L", margin=margin + 1e-9) == expected


@pytest.mark.parametrize(("joint", "said"), [((-0.01, 0.05), True), ((0.0, 0.05), True), ((0.001, 0.05), False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_that_holds_alone_is_said_to_hold_not_jointly(joint, said, sign):
    turned = lambda interval: tuple(sorted(sign * bound for bound in interval))  # noqa: E731
    interval = turned((0.01, 0.04))
    found = PairedDifference(sign * 0.025, 0.01, interval, interval, 3, 3, 3, turned(joint))
    low, high = (100 * bound for bound in turned(joint))
    remark = f", but [{low:.1f}, {high:.1f}] jointly over all budgets"
    assert verdict(found, "L").endswith(remark if said else "3 of 3 seeds")


def test_files_of_earlier_versions_have_no_joint_interval():
    found = PairedDifference(0.025, 0.01, (0.01, 0.04), (0.01, 0.04), 3, 0, 3)
    assert verdict(found, "L") == "helps: +2.5 points [1.0, 4.0] at L, 3 of 3 seeds"


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


def real_targets(count=150, seed=0):
    """Targets, and two predictions of them, of which one is better."""
    generator = np.random.default_rng(seed)
    y = 40 + 5 * generator.standard_t(8, count)
    return y, y + 2 * generator.normal(size=count), y + 4 * generator.normal(size=count)


def test_r2_is_that_of_scikit_learn():
    y, a, b = real_targets()
    assert r2(y, a) == pytest.approx(r2_score(y, a), rel=1e-12)
    pairs = np.column_stack([y, 3 * b]), np.column_stack([a, b])
    assert r2(*pairs) == pytest.approx(r2_score(*pairs, multioutput="variance_weighted"), rel=1e-12)
    assert (r2([2.0, 2.0], [2.0, 2.0]), r2([2.0, 2.0], [2.0, 3.0])) == (1.0, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_sampling_errors_of_r2_are_those_of_the_bootstrap_over_rows(seed):
    y, a, b = real_targets(seed=seed)
    rows = np.random.default_rng(9).integers(0, len(y), (2000, len(y)))
    scores = np.array([(r2_score(y[k], a[k]), r2_score(y[k], b[k])) for k in rows])
    assert r2_error(y, a) == pytest.approx(scores[:, 0].std(), rel=0.15)
    assert r2_error(y, b) == pytest.approx(scores[:, 1].std(), rel=0.15)
    assert r2_difference_error(y, a, b) == pytest.approx((scores[:, 0] - scores[:, 1]).std(), rel=0.15)


def test_the_error_of_a_difference_is_that_of_shared_rows():
    y, a, b = real_targets()
    assert r2_difference_error(y, a, b) == pytest.approx(r2_difference_error(y, b, a))
    assert r2_difference_error(y, a, a) == 0
    almost = a + 0.01 * (b - y)
    assert r2_difference_error(y, a, almost) < 0.1 * r2_error(y, a)
    assert r2_difference_error(10 + 3 * y, 10 + 3 * a, 10 + 3 * b) == pytest.approx(r2_difference_error(y, a, b))


def test_of_one_row_or_of_equal_targets_no_error_is_known():
    assert math.isnan(r2_error([1.0], [2.0]))
    assert math.isnan(r2_error([1.0, 1.0], [2.0, 1.0]))
    assert math.isnan(root_mean_square([]))
    assert math.isnan(root_mean_square([0.1, math.nan]))
    assert root_mean_square([0.3, 0.4]) == pytest.approx(math.sqrt(0.125))


def test_an_interval_is_no_narrower_than_the_error_of_the_test_rows():
    pairs = [0.51, 0.52, 0.50], [0.50, 0.51, 0.49]
    found = paired_difference(*pairs, least=0.04)
    half = scipy.stats.t.ppf(0.975, 2) * 0.04 / math.sqrt(3)
    assert found.interval == pytest.approx((0.01 - half, 0.01 + half))
    wide = [0.9, 0.5, 0.1], [0.0, 0.1, 0.2]
    assert paired_difference(*wide, least=0.04) == paired_difference(*wide)
    unknown = paired_difference(*pairs, least=math.nan)
    assert unknown.interval == (-math.inf, math.inf)
    assert unknown.mean == pytest.approx(0.01)


def test_the_unit_of_a_verdict_can_be_named():
    found = paired_difference([0.5, 0.6, 0.55], [0.3, 0.35, 0.3])
    assert verdict(found, "50 labels", metric=METRICS["r2"]).startswith("helps: +23.3 R² points [")
    wide = paired_difference([0.9, 0.5, 0.1], [0.0, 0.1, 0.2])
    assert " R² points at 50 labels, mean" in verdict(wide, "50 labels", metric=METRICS["r2"])
