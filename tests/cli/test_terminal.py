"""Tables on the terminal: at any width every figure is whole, whatever the names are."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from aepretrain import ComparisonResult, RunResult
from aepretrain.cli.tables import print_table
from aepretrain.cli.terminal import print_comparison, print_measurements, print_results
from aepretrain.console import console
from aepretrain.results.classifier import Measurement, PerClass
from aepretrain.results.comparison import ArmResult, BudgetResult
from aepretrain.results.figures import interval, mean_and_spread
from aepretrain.results.regressor import RegressionMeasurement
from aepretrain.results.run import PatternCode
from aepretrain.results.statistics import PairedDifference

EARLIER = Path(__file__).parents[1] / "results" / "earlier"
RUN = RunResult.read(EARLIER / "run.json")
WIDTHS = [10, 30, 40, 60, 80, 200]


@pytest.fixture
def at(monkeypatch):
    """What is printed at a width, and whether nothing of a table is wider."""

    def shown(width, show, *arguments):
        monkeypatch.setattr(console, "_width", width)
        with console.capture() as capture:
            show(*arguments)
        return capture.get()

    return shown


def figures(text):
    return set(re.findall(r"[-+]?\d[\d.,]*%?", text))


def measurement(classes, examples=40):
    share = 1 - 1 / examples
    matrix = [[examples - 1 if k == j else int(j == (k + 1) % classes) for j in range(classes)] for k in range(classes)]
    per_class = PerClass([share] * classes, [share] * classes, [share] * classes)
    return Measurement(share, 1 - share, 0.1234, classes * examples, per_class, matrix)


def comparison():
    arms = ("pretrained", "control-pretrained", "logistic-regression")
    budgets = []
    for place, labels in enumerate((10, 100_000, "all")):
        found = {arm: ArmResult(0.1 + 0.234567 * k + 0.01 * place, 0.1234, 0.0217, 3) for k, arm in enumerate(arms)}
        difference = PairedDifference(-0.123, 0.1, (-0.2345, 0.0123), (-0.2, 0.1), 12, 13, 25)
        differences = {"control-pretrained - control-random": difference}
        budgets.append(BudgetResult(labels=labels, arms=found, differences=differences, verdict=None, best=arms[0]))
    return ComparisonResult("Arrays", 25, 1, 300, 300, tuple(budgets))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_of_a_comparison_is_whole(width, at):
    found = comparison()
    text = at(width, print_comparison, found, Path("x"))
    assert "…" not in text
    for budget in found.budgets:
        for arm in budget.arms.values():
            assert mean_and_spread(arm.mean, arm.std) in text
        for difference in budget.differences.values():
            assert interval(difference.interval) in text
            assert interval(difference.bootstrap) in text
            assert f"{difference.wins} of {difference.pairs}" in text
    assert "± 2.2" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_of_a_run_is_whole(width, at):
    (stage,) = RUN.stages
    wide = replace(
        stage, stage="00-variational", variant="variational", in_shape=(3, 1024, 1024), code_shape=(65536,),
        epochs=1234,
        diagnostics={**stage.diagnostics, "kl": 123.456, "jacobian_norm": 7.891, "own_figure": 0.00012345},
    )  # fmt: skip
    run = replace(RUN, stages=(wide, stage))
    text = at(width, print_results, run, Path("x"))
    for figure in ("3x1024x1024", "65536", "1234", "123.5", "7.891", "0.0001234", f"{RUN.classifier.test.loss:.4f}"):
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", text), figure
    assert figures(at(200, print_results, run, Path("x"))) == figures(text)
    words = " ".join(text.split())
    assert "KL" in words
    assert "|J|" in words
    assert "…" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_names_of_classes_of_any_length_leave_the_recall_whole(width, at):
    names = ["[red]cat[/red]", "x" * 5000, "two\nlines\t\x1b[31m", "猫" * 30, "7", "", "-12345678901234567890123"]
    text = at(width, print_measurements, measurement(7), measurement(7, 50), names)
    assert text.count("97.50%") == 7 + 1
    assert text.count("98.00%") == 7 + 1
    assert "[red]cat" in text.replace("\n", "")
    assert "\x1b[31m" not in text
    assert width < 30 or max(cell_len(line) for line in text.splitlines()) <= width
    assert len(text.splitlines()) < 120


def test_recall_of_more_than_20_classes_is_not_printed(at):
    assert "recall of each class" in at(80, print_measurements, measurement(20), measurement(20))
    assert "recall" not in at(80, print_measurements, measurement(21), measurement(21))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_of_a_regression_is_whole(width, at):
    found = RegressionMeasurement(-12.3456, 123456.789, 98765.4321, 2.5, 88, 0.1107)
    text = at(width, print_measurements, found, replace(found, r2=0.4321, sampling_error=float("nan")))
    for figure in ("-12.3456", "0.4321", "1.2346e+05", "98765", "2.5000", "0.1107", "88"):
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", text), figure
    assert "…" not in text


def test_a_class_without_examples_has_no_recall(at):
    found = measurement(2)
    empty = replace(found, confusion_matrix=[[0, 0], *found.confusion_matrix[1:]])
    text = at(80, print_measurements, empty, empty, ["cat", "dog"])
    (line,) = [line for line in text.splitlines() if "cat" in line]
    assert line.split() == ["0", "cat", "0", "-", "0", "-"]


@pytest.mark.parametrize("width", WIDTHS)
def test_codes_of_patterns_are_whole(width, at):
    codes = tuple(PatternCode(k, [k + j / 100 for j in range(40)], k, True) for k in range(3))
    text = at(width, print_results, replace(RUN, patterns=codes), Path("x"))
    assert all(f"{value:.2f}" in text.split() for row in codes for value in row.code)


def test_warnings_are_printed_under_the_tables(at):
    run = replace(RUN, warnings=("the [codes] are all alike. Scale the inputs.",))
    text = at(80, print_results, run, Path("x"))
    assert text.index("identity") < text.index("warning: the [codes] are all alike. Scale the inputs.")


def test_what_an_encoding_lacks_is_replaced(at, monkeypatch):
    monkeypatch.setattr(type(console), "encoding", "ascii")
    assert at(80, print_table, "ti|tle ±", ("猫 x", "b"), [("猫", "1")]).isascii()


def test_a_table_without_rows_has_its_columns(at):
    assert at(80, print_table, "title", ("a", "b"), []).split()[:3] == ["title", "a", "b"]


def test_a_spread_of_one_seed_is_left_out():
    assert mean_and_spread(0.5, math.nan) == "50.00"
