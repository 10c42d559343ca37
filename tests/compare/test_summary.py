"""The summary of a comparison is that of a plain calculation over its rows; the options are what they say."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from aepretrain import Arrays, ConfigError, Digits
from aepretrain.compare.arms import ARMS, Arm
from aepretrain.compare.cell_config import cell_config
from aepretrain.compare.options import Cell, Comparison
from aepretrain.compare.summary import summarize
from aepretrain.compare.supervised import Classifying
from aepretrain.results.cell import CellResult
from aepretrain.results.run import DataFacts
from tests.support.comparisons import small_experiment

FACTS = DataFacts("Digits", (1, 8, 8), 10, unlabelled=1197, labelled=1197, validation=290, test=300)
PAIRS = [
    ("pretrained", "random"),
    ("probe", "random"),
    ("random-longer", "random"),
    ("pretrained", "random-longer"),
    ("control-pretrained", "control-random"),
    ("pretrained", "control-random"),
    ("pretrained", "control-pretrained"),
]


def made_up(comparison, seed=0):
    """Rows with accuracies of their own for every cell."""
    generator = np.random.default_rng(seed)
    return [
        CellResult(cell.arm, cell.seed, cell.budget, validation_accuracy=0.1, test_accuracy=float(generator.uniform()))
        for cell in comparison.cells()
    ]


@pytest.fixture(scope="module")
def comparison():
    return Comparison(arms=list(ARMS), seeds=[4, 3], labels=[50, None], baselines=["knn", "svm"], margin=2.0)


def accuracies(rows, arm, labels):
    return np.array([row.test_accuracy for row in rows if row.arm == arm and row.labels == labels])


@pytest.mark.parametrize(("place", "labels", "seeds"), [(0, 50, 4), (1, "all", 3)])
def test_means_spreads_and_differences_are_those_of_numpy_and_scipy(comparison, place, labels, seeds):
    rows = made_up(comparison)
    budget = summarize(rows, comparison, FACTS).budgets[place]
    assert budget.labels == labels
    assert list(budget.arms) == [*ARMS, "knn", "svm"]
    for arm, found in budget.arms.items():
        own = accuracies(rows, arm, labels)
        assert found.seeds == len(own) == seeds
        assert found.mean == pytest.approx(own.mean())
        assert found.std == pytest.approx(own.std(ddof=1))
        assert found.sampling_error == pytest.approx(math.sqrt(own.mean() * (1 - own.mean()) / 300))
    assert list(budget.differences) == [f"{one} - {other}" for one, other in PAIRS]
    for (one, other), found in zip(PAIRS, budget.differences.values(), strict=True):
        test = scipy.stats.ttest_rel(accuracies(rows, one, labels), accuracies(rows, other, labels))
        for interval, level in ((found.interval, 0.95), (found.joint, 0.975)):
            expected = test.confidence_interval(level)
            assert interval == pytest.approx((expected.low, expected.high))
    assert budget.best == max(budget.arms, key=lambda arm: accuracies(rows, arm, labels).mean())


def test_the_summary_counts_what_was_compared(comparison):
    found = summarize(made_up(comparison), comparison, FACTS)
    assert (found.data, found.seeds, found.combinations) == ("Digits", 4, 1)
    assert (found.validation_examples, found.test_examples, found.splits) == (290, 300, "per-seed")
    gridded = Comparison(seeds=1, baselines=[], grid={"finetune.epochs": [1, 2], "classifier.dropout": [0, 0.1, 0.2]})
    assert summarize(made_up(gridded), gridded, FACTS).combinations == 6


@pytest.mark.parametrize(
    ("arms", "answered"),
    [
        (["pretrained", "random"], ["verdict"]),
        (["pretrained", "random-longer"], ["longer_verdict"]),
        (["control-pretrained", "control-random"], ["control_verdict"]),
        (["random"], []),
    ],
)
def test_a_verdict_needs_both_of_its_arms(arms, answered):
    comparison = Comparison(arms=arms, seeds=3, baselines=[])
    (budget,) = summarize(made_up(comparison), comparison, FACTS).budgets
    verdicts = ("verdict", "longer_verdict", "control_verdict")
    assert [name for name in verdicts if getattr(budget, name) is not None] == answered


@pytest.mark.parametrize(("margin", "begin"), [(3.0, "no difference seen"), (2.0, "undecided")])
def test_the_margin_of_the_comparison_is_that_of_its_verdicts(margin, begin):
    comparison = Comparison(arms=list(ARMS), seeds=3, baselines=[], margin=margin)
    spread = {"pretrained": 0.01, "control-pretrained": 0.01}
    rows = [
        CellResult(cell.arm, cell.seed, "all", 0.5, 0.5 + spread.get(cell.arm, 0.0) * (cell.seed - 1))
        for cell in comparison.cells()
    ]
    (budget,) = summarize(rows, comparison, FACTS).budgets
    for verdict in (budget.verdict, budget.longer_verdict, budget.control_verdict):
        assert verdict.startswith(begin)
        assert "at all labels" in verdict


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("baselines", [None, []])
def test_one_seed_has_no_spread_and_two_have_one(seeds, baselines):
    comparison = Comparison(seeds=seeds, baselines=baselines)
    rows = made_up(comparison)
    (budget,) = summarize(rows, comparison, FACTS).budgets
    assert list(budget.arms) == ["pretrained", "random", "probe"]
    for arm, found in budget.arms.items():
        if seeds == 1:
            assert math.isnan(found.std)
        else:
            assert found.std == pytest.approx(accuracies(rows, arm, "all").std(ddof=1))


def test_the_arms_are_what_their_names_say():
    assert {
        "pretrained": Arm(pretrained=True, control=False, frozen=False, longer=False),
        "random": Arm(pretrained=False, control=False, frozen=False, longer=False),
        "probe": Arm(pretrained=True, control=False, frozen=True, longer=False),
        "random-longer": Arm(pretrained=False, control=False, frozen=False, longer=True),
        "control-pretrained": Arm(pretrained=True, control=True, frozen=False, longer=False),
        "control-random": Arm(pretrained=False, control=True, frozen=False, longer=False),
    } == ARMS


def test_cells_come_seed_by_seed_then_budget_by_budget():
    cells = list(Comparison(arms=["random", "probe"], seeds=[1, 2], labels=[50, None], baselines=["knn"]).cells())
    assert [cell.name for cell in cells] == [
        "random-50-seed0", "probe-50-seed0", "knn-50-seed0",
        "random-all-seed0", "probe-all-seed0", "knn-all-seed0",
        "random-all-seed1", "probe-all-seed1", "knn-all-seed1",
    ]  # fmt: skip
    assert [cell.budget for cell in cells[:4]] == [50, 50, 50, "all"]


def test_the_grid_is_every_combination_in_order():
    grid = {"finetune.epochs": [1, 2], "classifier.dropout": [0.0, 0.5]}
    assert Comparison(grid=grid).settings() == [
        {"finetune.epochs": 1, "classifier.dropout": 0.0},
        {"finetune.epochs": 1, "classifier.dropout": 0.5},
        {"finetune.epochs": 2, "classifier.dropout": 0.0},
        {"finetune.epochs": 2, "classifier.dropout": 0.5},
    ]
    assert Comparison().settings() == [{}]


def test_the_defaults_are_those_of_the_documentation():
    assert Comparison() == Comparison(
        arms=("pretrained", "random", "probe"), seeds=5, labels=(None,), baselines=None, grid={},
        longer_by="steps", splits="per-seed", margin=1.0,
    )  # fmt: skip
    assert (Comparison().most_seeds, Comparison(seeds=[2, 7, 3], labels=[1, 2, 3]).most_seeds) == (5, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"margin": -0.1},
            "compare.margin must be points of accuracy or R², or % of an error, from 0 to 100, but got -0.1",
        ),
        ({"margin": 100}, "compare.margin .* but got 100"),
        (
            {"baselines": ["forest"]},
            "baselines are logistic, knn, svm, boosting, ridge, mean, pca, but got 'forest'",
        ),
        ({"seeds": 0}, "compare.seeds must be >= 1, but got 0"),
        ({"labels": []}, r"compare.labels is empty. Name one at least\."),
        ({"labels": [50, None, 50]}, r"compare.labels names 50 twice. Leave one out\."),
        ({"arms": ["random", "random"]}, r"compare.arms names random twice. Leave one out\."),
        ({"seeds": [1, 2]}, "one per label budget: 2 numbers for 1 budgets"),
        ({"seeds": [2, 0], "labels": [50, None]}, "compare.seeds must be >= 1, but got 0"),
        ({"arms": ["longest"]}, "compare.arms are pretrained, .*, but got 'longest'"),
        ({"grid": {"pretrain.epochs": [1]}}, "tries settings of classifier and finetune, but got 'pretrain.epochs'"),
        (
            {"grid": {"finetune.epochs": []}},
            r"compare.grid.finetune.epochs must be a list of values to try, but is \[\]",
        ),
        ({"grid": {"finetune.epochs": 3}}, "compare.grid.finetune.epochs must be a list of values to try, but is 3"),
    ],
)
def test_options_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Comparison(**arguments)


def test_the_ends_of_the_ranges_are_taken():
    assert Comparison(margin=0).margin == 0
    assert Comparison(margin=99.9, seeds=1).most_seeds == 1


@pytest.mark.parametrize(
    ("options", "default"),
    [
        ({}, True),
        ({"margin": 2.0, "splits": "fixed"}, True),
        ({"seeds": 4}, False),
        ({"labels": [50]}, False),
        ({"arms": ["random"]}, False),
        ({"baselines": ["knn"]}, False),
        ({"grid": {"finetune.epochs": [1, 2]}}, False),
    ],
)
def test_the_cells_of_a_config_without_a_comparison_are_the_default_ones(options, default):
    assert Comparison(**options).has_default_cells is default


@pytest.mark.parametrize("arm", ARMS)
def test_a_control_is_needed_by_its_arms_alone(arm):
    assert Comparison(arms=[arm]).has_control == arm.startswith("control")
    assert Comparison(arms=["random", "control-random"]).has_control


@pytest.mark.parametrize("own", [True, False])
def test_data_with_splits_of_their_own_keep_them_and_baselines_follow_the_data(own, monkeypatch):
    monkeypatch.setattr(Digits, "own_splits", own)
    found = Comparison().for_data(Digits())
    assert found.splits == ("fixed" if own else "per-seed")
    assert list(found.baselines) == ["logistic", "knn", "svm"]
    table = Arrays(torch.rand(60, 5), torch.arange(60) % 2)
    assert list(Comparison().for_data(table).baselines) == ["logistic", "knn", "svm", "boosting"]
    assert Comparison(baselines=[]).for_data(table).baselines == []
    assert Comparison(baselines=["boosting"]).for_data(Digits()).baselines == ["boosting"]


CONFIG = {
    "seed": 0, "layers": ["a"], "classifier": {"dropout": 0.0}, "finetune": {"epochs": 3},
    "data": {"init_args": {"labels": 7, "split_seed": 0}}, "compare": {"seeds": 3},
    "control": {"layers": ["b"], "finetune": {"epochs": 9}},
}  # fmt: skip


@pytest.mark.parametrize("arm", ARMS)
def test_the_config_of_a_cell_holds_its_network_seed_budget_division_and_settings(arm):
    before = repr(CONFIG)
    settings = {"classifier.dropout": 0.5, "classifier.optimizer.init_args.lr": 0.1}
    settings |= Classifying().settings(small_experiment(), ARMS[arm])
    own = cell_config(CONFIG, ARMS[arm], 4, 50, settings, split_seed=6)
    control, frozen = arm.startswith("control"), {"freeze_encoder": True} if arm == "probe" else {}
    assert own == {
        "seed": 4,
        "layers": ["b" if control else "a"],
        "classifier": {"dropout": 0.5, "optimizer": {"init_args": {"lr": 0.1}}, **frozen},
        "finetune": {"epochs": 9 if control else 3},
        "data": {"init_args": {"labels": 50, "split_seed": 6}},
    }
    assert repr(CONFIG) == before
    fixed = cell_config(CONFIG, ARMS[arm], 4, None, {})
    assert fixed["data"] == {"init_args": {"labels": None, "split_seed": 0}}
    fixed["layers"].append("c")
    assert repr(CONFIG) == before


def test_a_cell_is_named_by_arm_budget_and_seed():
    assert Cell("random", 3, 50).name == "random-50-seed3"
