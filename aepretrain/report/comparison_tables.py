"""Tables of a comparison: means per arm, paired differences, every seed."""

import math
from html import escape

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.colours import STAND_INS, arm_colours, use_variables
from aepretrain.report.comparison_files import ComparisonFiles
from aepretrain.report.page import table
from aepretrain.results.cell import CellResult, Labels


def means_table(files: ComparisonFiles) -> str:
    """Table of test accuracy by arm and label budget: mean and standard deviation over seeds in percent."""
    colours = arm_colours(files.arms, STAND_INS)
    best = {labels: max(_mean(files, arm, labels) for arm in files.arms) for labels in files.labels}
    rows = [
        [_arm(arm, colours[arm]), *(_mean_cell(files, arm, labels, best[labels]) for labels in files.labels)]
        for arm in files.arms
    ]
    errors = [100 * budget.sampling_error for budget in files.budgets]
    words = (
        f" The sampling error of one accuracy on the test set is up to {max(errors):.1f} points." if any(errors) else ""
    )
    return (
        "<h3>Test accuracy in %</h3>"
        + table(["arm", *(f"{labels} labels" for labels in files.labels)], rows)
        + f"<p>Mean ± standard deviation over seeds; the best of each column is bold.{words}</p>"
    )


def _mean(files: ComparisonFiles, arm: str, labels: Labels) -> float:
    mean = files.spread(arm, labels)[0]
    return -1.0 if math.isnan(mean) else mean


def _mean_cell(files: ComparisonFiles, arm: str, labels: Labels, best: float) -> str:
    mean, spread = files.spread(arm, labels)
    if math.isnan(mean):
        return "-"
    text = f"{100 * mean:.2f}" + ("" if math.isnan(spread) else f" ± {100 * spread:.2f}")
    return f"<b>{text}</b>" if mean == best else text


def _arm(arm: str, colour: str) -> str:
    kind = " (baseline)" if arm in BASELINES else ""
    return f'<span class="swatch" style="background: {use_variables(colour)}"></span>{escape(arm)}{kind}'


def differences_table(files: ComparisonFiles) -> str:
    """Table with a row per label budget and difference: mean, intervals, seeds won."""
    rows = [
        (
            f"{budget.labels} labels",
            name.replace(" - ", "\u00a0−\u00a0"),  # noqa: RUF001
            f"{100 * found.mean:+.2f}",
            _interval(found.interval),
            "-" if found.joint is None else _interval(found.joint),
            _interval(found.bootstrap),
            f"{found.wins} of {found.pairs}",
        )
        for budget in files.budgets
        for name, found in budget.differences.items()
    ]
    if not rows:
        return ""
    columns = (
        "budget",
        "difference",
        "mean",
        "95% interval (Student)",
        "jointly over budgets",
        "95% interval (bootstrap)",
        "seeds won",
    )
    return "<h3>Paired differences of test accuracy in points</h3>" + table(columns, rows, words=2)


def _interval(ends: tuple[float, float]) -> str:
    return f"[{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]" if all(map(math.isfinite, ends)) else "-"


def seeds_table(files: ComparisonFiles) -> str:
    """Table with a row per cell of the comparison, as in ``results.csv``."""
    columns = ("arm", "labels", "seed", "settings", "validation %", "test %", "epochs", "steps", "seconds")
    return table(columns, [_cells(row) for row in files.rows], words=4)


def _cells(row: CellResult) -> tuple[str, ...]:
    return (
        row.arm,
        str(row.labels),
        str(row.seed),
        row.settings or "-",
        *(f"{100 * accuracy:.2f}" for accuracy in (row.validation_accuracy, row.test_accuracy)),
        *("-" if count is None else f"{count:,}" for count in (row.epochs, row.steps)),
        "-" if row.seconds is None else f"{row.seconds:.2f}",
    )
