"""Figures for people: as many digits as they need, a dash where there is none, and the columns of every table."""

import math

import pytest

from aepretrain.results import figures
from aepretrain.results.classifier import Measurement, PerClass
from aepretrain.results.comparison import ArmResult, BudgetResult
from aepretrain.results.stage import StageLosses, StageResult
from aepretrain.results.statistics import paired_difference

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, ".2f", "-"), (NAN, ".2f", "-"), (0.0, ".2f", "0.00"), (-1.234, ".1f", "-1.2"), (0.5, ".0%", "50%"),
        (999_999.0, ".0f", "999999"), (1e6, ".2f", "1e+06"), (-1e6, ".2f", "-1e+06"), (math.inf, ".2f", "inf"),
    ],
)  # fmt: skip
def test_a_figure_is_a_dash_where_it_is_not_defined_and_short_where_it_is_large(value, form, text):
    assert figures.number(value, form) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.5, "0.5"), (0.123456, "0.123"), (1.0, "1.00"), (-0.5, "-0.5"), (-1.0, "-1.00"), (NAN, "-"),
     (2e6, "2e+06"), (0.999, "0.999")],
)  # fmt: skip
def test_losses_have_two_decimals_and_small_ones_three_digits(value, text):
    assert figures.nats(value) == text


def stage(**diagnostics):
    return StageResult(
        stage="00-x", variant="x", in_shape=(1, 8, 8), code_shape=(4,), epochs=20, kept_epoch=18, steps=7600,
        seconds=1.26, losses=StageLosses(9.75, 8.5, 0.25), diagnostics=diagnostics,
    )  # fmt: skip


def test_every_figure_of_a_stage_has_its_column():
    known = {
        "mean_reconstruction": 12.5, "active_share": 0.256, "mean_abs_code": 0.1234, "dead_units": 3.0,
        "saturated_units": 2.0, "informative_units": 1.0, "identity_score": 0.456,
    }  # fmt: skip
    columns = list(figures.STAGE_FIGURES)
    assert columns == [
        "epochs", "kept epoch", "steps", "seconds", "training", "validation", "reconstruction", "of the mean", "active",
        "mean |h|", "dead", "saturated", "informative", "identity",
    ]  # fmt: skip
    begin = ["20", "18", "7,600", "1.3", "9.75", "8.50", "0.25"]
    names, (row, bare) = figures.stage_table([stage(**known), stage()], columns)
    assert names == columns
    assert row == [*begin, "12.50", "25.6%", "0.123", "3", "2", "1", "0.46"]
    assert bare == [*begin, *["-"] * 7]


def test_diagnostics_of_a_variant_have_columns_of_their_own_after_the_named_ones():
    stages = [stage(dead_units=1.0, kl=1.23456), stage(jacobian_norm=2.0, own_figure=None), stage(kl=3.0)]
    assert figures.stage_table(stages, ["dead"]) == (
        ["dead", "KL (nats)", "‖J‖", "own figure"],
        [["1", "1.235", "-", "-"], ["-", "-", "2", "-"], ["-", "3", "-", "-"]],
    )


def measured(matrix, balanced=0.75, loss=0.12345):
    examples, classes = sum(map(sum, matrix)), len(matrix)
    right = sum(row[k] for k, row in enumerate(matrix))
    recall = [row[k] / sum(row) if sum(row) else 0.0 for k, row in enumerate(matrix)]
    per_class = PerClass(recall, [0.0] * classes, [0.0] * classes)
    accuracy = right / examples
    return Measurement(accuracy, 1 - accuracy, loss, examples, per_class, matrix, balanced_accuracy=balanced)


def test_figures_of_a_classifier_stand_in_a_row_per_split():
    one, other = measured([[900, 100], [0, 200]]), measured([[1, 1], [0, 2]], balanced=None)
    columns = ["data", "examples", "accuracy", "error", "loss (nats)"]
    rows = [["validation", "1,200", "91.67%", "8.33%", "0.1235"], ["test", "4", "75.00%", "25.00%", "0.1235"]]
    assert figures.measurement_table({"validation": one, "test": other}) == (columns, rows)
    found = figures.measurement_table({"validation": one, "test": one})
    assert found == (
        [*columns, "balanced accuracy"],
        [["validation", *rows[0][1:], "75.00%"], ["test", *rows[0][1:], "75.00%"]],
    )


def test_recall_stands_in_a_row_per_class_with_the_counts_of_both_splits():
    validation, test = measured([[3, 1], [0, 0]]), measured([[0, 2], [1, 1000]])
    columns, rows = figures.recall_table(validation, test, ["cat", "dog"])
    assert columns == ["class", "validation examples", "validation recall", "test examples", "test recall"]
    assert rows == [["0 cat", "4", "75.00%", "2", "0.00%"], ["1 dog", "0", "-", "1,001", "99.90%"]]
    for classes, shown in ((20, 20), (21, 0)):
        many = measured([[1 if k == j else 0 for j in range(classes)] for k in range(classes)])
        assert len(figures.recall_table(many, many, None)[1]) == shown


@pytest.mark.parametrize(
    ("k", "names", "name", "mark"),
    [
        (1, ["cat", "dog"], "1 dog", "1"), (1, ["10", "20"], "20", "20"), (1, ["0", "-5"], "-5", "-5"),
        (1, None, "1", "1"),
        (2, ["cat", "dog"], "2", "2"), (0, ["0", "1"], "0", "0"), (0, ["x" * 41], "0 " + "x" * 39 + "…", "0"),
        (0, ["x" * 40], "0 " + "x" * 40, "0"), (0, ["a\n \x00b"], "0 a  b", "0"),
    ],
)  # fmt: skip
def test_a_class_is_named_once_and_in_one_line(k, names, name, mark):
    assert (figures.class_name(k, names), figures.class_mark(k, names)) == (name, mark)


def test_means_intervals_and_sampling_errors_are_in_points():
    assert figures.mean_and_spread(0.8123, 0.0123) == "81.23 ± 1.23"
    assert figures.mean_and_spread(0.8, NAN) == "80.00"
    assert figures.mean_and_spread(NAN, NAN) == "-"
    assert figures.interval((-0.0123, 0.2)) == "[-1.23, 20.00]"
    assert figures.interval((NAN, 0.2)) == figures.interval((0.1, math.inf)) == "-"
    assert figures.shape((1, 28, 28)) == "1x28x28"


def test_differences_stand_in_a_row_per_budget_and_pair():
    found = {
        "a - b": paired_difference([0.5, 0.75, 0.75], [0.25, 0.5, 0.75], questions=2, examples=100),
        "c - b": paired_difference([0.5, 0.5], [0.75, 0.625], questions=1, examples=100),
    }
    arms = {"a": ArmResult(0.5, 0.1, 0.031, 3), "b": ArmResult(0.5, 0.1, 0.0449, 3)}
    budget = BudgetResult(labels=50, arms=arms, differences=found, verdict=None, best="a")
    columns, rows = figures.differences_table([budget, budget])
    assert columns == [
        "labels", "difference", "mean", "95% interval (Student)", "jointly over budgets", "95% interval (bootstrap)",
        "seeds won",
    ]  # fmt: skip
    first, second = found.values()
    joint = "-" if second.joint is None else figures.interval(second.joint)
    assert rows[0] == [
        "50", "a - b", "+16.67", figures.interval(first.interval), figures.interval(first.joint),
        figures.interval(first.bootstrap), "2 of 3",
    ]  # fmt: skip
    assert rows[1] == [
        "50", "c - b", "-18.75", figures.interval(second.interval), joint, figures.interval(second.bootstrap), "0 of 2"
    ]  # fmt: skip
    assert len(rows) == 4
    assert figures.sampling_error(budget) == "± 4.5"
