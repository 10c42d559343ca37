"""Terminal, report and tracking show the figures of the same records."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from aepretrain import ComparisonResult, RunResult
from aepretrain.cli.terminal import print_comparison, print_results
from aepretrain.console import console
from aepretrain.report.comparison_files import ComparisonFiles
from aepretrain.report.comparison_tables import differences_table, means_table
from aepretrain.report.pretraining import stage_table, units
from aepretrain.results.cell import read_rows
from aepretrain.tracking.comparison import scalar_metrics
from aepretrain.tracking.run import flatten, summary_of

EARLIER = Path(__file__).parent / "earlier"
RUN = RunResult.read(EARLIER / "run.json")
SUMMARY = ComparisonResult.read(EARLIER / "summary.json")


def shown(show, *arguments):
    with console.capture() as capture:
        show(*arguments)
    return capture.get()


def test_terminal_and_report_show_one_sampling_error_of_a_comparison():
    errors = [max(arm.sampling_error for arm in budget.arms.values()) for budget in SUMMARY.budgets]
    assert [budget.sampling_error for budget in SUMMARY.budgets] == errors
    assert len({arm.sampling_error for arm in SUMMARY.budgets[0].arms.values()}) > 1
    (line,) = [line for line in shown(print_comparison, SUMMARY, Path()).splitlines() if "sampling error" in line]
    assert line.split() == ["sampling", "error", *(word for error in errors for word in ("±", f"{100 * error:.1f}"))]
    words = means_table(ComparisonFiles(EARLIER, read_rows(EARLIER / "results.csv"), SUMMARY))
    assert f"sampling error of one accuracy on the test set is up to {100 * max(errors):.1f} points" in words


def test_a_single_seed_has_no_interval_anywhere():
    files = ComparisonFiles(EARLIER, read_rows(EARLIER / "results.csv"), SUMMARY)
    texts = [shown(print_comparison, SUMMARY, Path()), means_table(files), differences_table(files)]
    assert not [text for text in texts if re.search(r"\b(nan|inf|None)\b", text)]


def test_a_diagnostic_that_is_not_defined_is_a_dash_in_terminal_and_report_and_is_not_tracked():
    (stage,) = RUN.stages
    undefined = replace(stage, diagnostics={**stage.diagnostics, "identity_score": None, "dead_units": None})
    found = replace(RUN, stages=(undefined,), classifier=None)
    (line,) = [line for line in shown(print_results, found, Path()).splitlines() if "00-denoising" in line]
    assert line.split()[-2:] == ["-", "-"]
    assert "<td>-</td>" in stage_table([undefined]).replace(' class="number"', "")
    assert "- in 00-denoising" in units([undefined])
    assert "00-denoising/identity_score" in summary_of(RUN)
    assert "00-denoising/identity_score" not in summary_of(found)


def test_tracking_has_every_figure_by_the_key_of_its_curve():
    figures = summary_of(RUN)
    (stage,), classifier = RUN.stages, RUN.classifier
    assert figures["00-denoising/reconstruction"] == stage.losses.reconstruction
    assert figures["00-denoising/dead_units"] == stage.diagnostics["dead_units"]
    assert figures["00-denoising/steps"] == stage.steps
    assert figures["test/accuracy"] == classifier.test.accuracy
    assert figures["validation/error"] == classifier.validation.error
    assert figures["finetune/epochs"] == classifier.epochs
    assert figures["finetune/weights_arrived"] is True
    assert "00-denoising/stage" not in figures


@pytest.mark.parametrize("budget", SUMMARY.budgets, ids=lambda budget: str(budget.labels))
def test_tracking_has_means_differences_and_verdicts_of_a_budget(budget):
    figures = flatten(scalar_metrics(SUMMARY))
    assert figures["test_examples"] == SUMMARY.test_examples
    assert figures[f"labels-{budget.labels}/random/mean"] == budget.arms["random"].mean
    assert figures[f"labels-{budget.labels}/pretrained - random/wins"] == budget.differences["pretrained - random"].wins
    assert figures[f"labels-{budget.labels}/verdict"] == budget.verdict
    assert f"labels-{budget.labels}/longer_verdict" not in figures
