"""Tables of a comparison: means per arm, paired differences, every seed."""

import math
from html import escape

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.colours import STAND_INS, arm_colours, use_variables
from aepretrain.report.comparison_files import ComparisonFiles, Row
from aepretrain.report.page import table


def means_table(files: ComparisonFiles) -> str:
    """A row per arm, a column per label budget: mean and standard deviation over seeds in percent."""
    colours = arm_colours(files.arms, STAND_INS)
    best = {labels: max(_mean(files, arm, labels) for arm in files.arms) for labels in files.budgets}
    rows = [
        [_arm(arm, colours[arm]), *(_mean_cell(files, arm, labels, best[labels]) for labels in files.budgets)]
        for arm in files.arms
    ]
    errors = [_sampling_error(files, labels) for labels in files.budgets]
    words = (
        f" The sampling error of one accuracy on the test set is up to {max(errors):.1f} points." if any(errors) else ""
    )
    return (
        "<h3>Test accuracy in %</h3>"
        + table(["arm", *(f"{labels} labels" for labels in files.budgets)], rows)
        + f"<p>Mean ± standard deviation over seeds; the best of each column is bold.{words}</p>"
    )


def _mean(files: ComparisonFiles, arm: str, labels: str) -> float:
    mean = files.spread(arm, labels)[0]
    return -1.0 if math.isnan(mean) else mean


def _mean_cell(files: ComparisonFiles, arm: str, labels: str, best: float) -> str:
    mean, spread = files.spread(arm, labels)
    if math.isnan(mean):
        return "-"
    text = f"{100 * mean:.2f}" + ("" if math.isnan(spread) else f" ± {100 * spread:.2f}")
    return f"<b>{text}</b>" if mean == best else text


def _sampling_error(files: ComparisonFiles, labels: str) -> float:
    budgets = [budget for budget in files.summary.get("budgets", []) if str(budget["labels"]) == labels]
    return max((100 * (arm["sampling_error"] or 0) for budget in budgets for arm in budget["arms"].values()), default=0)


def _arm(arm: str, colour: str) -> str:
    kind = " (baseline)" if arm in BASELINES else ""
    return f'<span class="swatch" style="background: {use_variables(colour)}"></span>{escape(arm)}{kind}'


def differences_table(files: ComparisonFiles) -> str:
    """A row per label budget and difference: mean, intervals, seeds won."""
    rows = [
        (
            f"{budget['labels']} labels",
            name.replace(" - ", "\u00a0−\u00a0"),  # noqa: RUF001
            f"{100 * found['mean']:+.2f}",
            _interval(found["interval"]),
            _interval(found["bootstrap"]),
            f"{found['wins']} of {found['pairs']}",
        )
        for budget in files.summary.get("budgets", [])
        for name, found in budget["differences"].items()
    ]
    if not rows:
        return ""
    columns = ("budget", "difference", "mean", "95% interval (Student)", "95% interval (bootstrap)", "seeds won")
    return "<h3>Paired differences of test accuracy in points</h3>" + table(columns, rows, words=2)


def _interval(ends: tuple[float | None, float | None]) -> str:
    low, high = ends
    return "-" if low is None or high is None else f"[{100 * low:.2f}, {100 * high:.2f}]"


def seeds_table(files: ComparisonFiles) -> str:
    """A row per cell of the comparison, as in ``results.csv``."""
    columns = ("arm", "labels", "seed", "settings", "validation %", "test %", "epochs", "steps", "seconds")
    return table(columns, [_cells(row) for row in files.rows], words=4)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["arm"],
        row["labels"],
        row["seed"],
        row.get("hyperparameters") or "-",
        *(f"{100 * float(row[name]):.2f}" for name in ("validation_accuracy", "test_accuracy")),
        *(f"{int(row[name]):,}" if row.get(name) else "-" for name in ("epochs", "steps")),
        f"{float(row['seconds']):.2f}" if row.get("seconds") else "-",
    )
