"""Tables of a comparison: means per arm, paired differences, every seed."""

import math

from markupsafe import Markup

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.colours import PLACEHOLDERS, arm_colours, use_variables
from aepretrain.report.comparison_files import ComparisonFiles
from aepretrain.report.markup import fill
from aepretrain.report.page import heading, paragraph, table
from aepretrain.results import figures
from aepretrain.results.cell import SPLITS, CellResult, Labels
from aepretrain.results.figures import mean_and_spread, metric_value, sampling_error
from aepretrain.results.metric import METRICS, Metric


def means_table(files: ComparisonFiles) -> Markup:
    """Table of the test metric by arm and label budget: mean and standard deviation over seeds."""
    colours, metric = arm_colours(files.arms, PLACEHOLDERS), files.metric
    best = {
        labels: max((_mean(files, arm, labels) for arm in files.arms), key=metric.better) for labels in files.labels
    }
    rows = [
        [_arm(arm, colours[arm]), *(_mean_cell(files, arm, labels, best[labels]) for labels in files.labels)]
        for arm in files.arms
    ]
    errors = {budget.labels: sampling_error(budget, metric) for budget in files.budgets}
    one = f"sampling error of one {metric.single}"
    if errors:
        rows.append([one, *(errors.get(labels, "-") for labels in files.labels)])
    worst = max((budget.sampling_error for budget in files.budgets), default=0)
    words = f" The {one} on the test set is up to {metric_value(worst, metric, 1)}{_unit(metric)}." if worst else ""
    return (
        heading(f"Test {metric.title}")
        + table(["arm", *(f"{labels} {metric.counted}" for labels in files.labels)], rows)
        + paragraph(f"Mean ± standard deviation over seeds; the best of each column is bold.{words}")
    )


def _unit(metric: Metric) -> str:
    return "" if metric.is_error else " points"


def _mean(files: ComparisonFiles, arm: str, labels: Labels) -> float:
    mean = files.spread(arm, labels)[0]
    return files.metric.better(-math.inf) if math.isnan(mean) else mean


def _mean_cell(files: ComparisonFiles, arm: str, labels: Labels, best: float) -> str:
    mean, spread = files.spread(arm, labels)
    text = mean_and_spread(mean, spread, files.metric)
    return fill("<b>{}</b>", text) if mean == best else text


def _arm(arm: str, colour: str) -> Markup:
    kind = " (baseline)" if arm in BASELINES else ""
    return fill('<span class="swatch" style="background: {}"></span>{}{}', use_variables(colour), arm, kind)


def differences_table(files: ComparisonFiles) -> Markup:
    """Table with a row per label budget and difference: mean, intervals, seeds won."""
    columns, rows = figures.differences_table(files.budgets, files.metric)
    for row in rows:
        row[1] = row[1].replace(" - ", "\u00a0−\u00a0")  # noqa: RUF001
    title = heading(f"Paired differences of test {files.metric.difference}")
    return title + table(columns, rows, words=2) if rows else Markup("")


def errors_table(files: ComparisonFiles) -> Markup:
    """Table of RMSE and MAE by arm and label budget; empty but for real targets."""
    if files.metric.name != "r2" or not files.budgets:
        return Markup("")
    columns, rows = figures.errors_table(files.budgets)
    title = f"{figures.ERRORS_TITLE[0].upper()}{figures.ERRORS_TITLE[1:]}"
    return heading(title) + table(["arm", *(f"{labels} labels" for labels in columns[1:])], rows)


def seeds_table(files: ComparisonFiles) -> Markup:
    """Table with a row per cell of the comparison, as in ``results.csv``."""
    unit, metric = "%" if files.metric.name == "accuracy" else "R² x 100", files.metric
    names = [
        f"{split} {unit if metric.factor == 100 else METRICS[name].word}"
        for name in (metric.name, *metric.also)
        for split in SPLITS
    ]
    columns = ("arm", metric.counted, "seed", "settings", *names, "epochs", "steps", "seconds")
    return table(columns, [_cells(row) for row in files.rows], words=4)


def _cells(row: CellResult) -> tuple[str, ...]:
    scores = [
        metric_value(row.score(split, name), METRICS[name])
        for name in (row.metric.name, *row.metric.also)
        for split in SPLITS
    ]
    return (
        row.arm,
        str(row.labels),
        str(row.seed),
        row.settings or "-",
        *scores,
        *("-" if count is None else f"{count:,}" for count in (row.epochs, row.steps)),
        "-" if row.seconds is None else f"{row.seconds:.2f}",
    )
