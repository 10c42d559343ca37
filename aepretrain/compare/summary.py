"""The summary of a comparison: means, differences and a verdict per label budget."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aepretrain.compare.arms import CONTRASTS, CONTROL_QUESTION, LONGER_QUESTION, QUESTION
from aepretrain.compare.options import Comparison
from aepretrain.results.cell import CellResult, Labels
from aepretrain.results.comparison import ArmResult, BudgetResult, ComparisonResult, MetricResult
from aepretrain.results.metric import METRICS, Metric
from aepretrain.results.row_values import RowValues
from aepretrain.results.run import DataFacts
from aepretrain.results.statistics import paired_difference, root_mean_square, sampling_error, verdict


def summarize(
    rows: Sequence[CellResult],
    comparison: Comparison,
    data: DataFacts,
    row_values: Callable[[CellResult], RowValues | None] = lambda row: None,
) -> ComparisonResult:
    """Means, spreads, paired differences and a verdict per label budget.

    Args:
        rows: The rows of all cells.
        comparison: The options of the comparison.
        data: The data set.
        row_values: Gives the values of single test examples of a cell, from which sampling errors are computed;
            ``None`` for accuracies, whose sampling error is that of a share.
    """
    metric, budgets = rows[0].metric, []
    for labels in comparison.labels:
        name: Labels = "all" if labels is None else labels
        cells = {
            arm: [row for row in rows if (row.arm, row.labels) == (arm, name)]
            for arm in (*comparison.arms, *(comparison.baselines or ()))
        }
        values = {arm: [found for row in own if (found := row_values(row)) is not None] for arm, own in cells.items()}
        whole, *others = (
            _in_metric(name, cells, values, comparison, data, METRICS[each]) for each in (metric.name, *metric.also)
        )
        also: dict[str, MetricResult] = dict(zip(metric.also, others, strict=True))
        budgets.append(BudgetResult(**vars(whole), also=also or None))
    return ComparisonResult(
        data=data.name,
        seeds=comparison.most_seeds,
        combinations=len(comparison.settings()),
        validation_examples=data.validation,
        test_examples=data.test,
        budgets=tuple(budgets),
        splits=comparison.splits,
        metric=None if metric.name == "accuracy" else metric.name,
    )


def _in_metric(
    labels: Labels,
    cells: Mapping[str, Sequence[CellResult]],
    values: Mapping[str, Sequence[RowValues]],
    comparison: Comparison,
    data: DataFacts,
    metric: Metric,
) -> MetricResult:
    """Arms, differences and verdicts at one budget, in one metric."""
    differences = {
        pair: paired_difference(
            *([row.score("test", metric.name) for row in cells[arm]] for arm in pair),
            questions=len(comparison.labels),
            **_least(pair, values, data, metric),
        )
        for pair in CONTRASTS
        if all(arm in cells for arm in pair)
    }
    arms = {arm: _over_seeds(own, data.test, values[arm], metric) for arm, own in cells.items()}

    def answer(pair: tuple[str, str]) -> str | None:
        if pair not in differences:
            return None
        # A share has points; for another metric, a point is a hundredth of what the second arm has.
        margin = comparison.margin * (1 if metric.factor == 100 else arms[pair[1]].mean / 100)
        return verdict(differences[pair], f"{labels} {metric.counted}", margin=margin, metric=metric)

    return MetricResult(
        labels=labels,
        arms=arms,
        differences={f"{one} - {other}": found for (one, other), found in differences.items()},
        verdict=answer(QUESTION),
        longer_verdict=answer(LONGER_QUESTION),
        control_verdict=answer(CONTROL_QUESTION),
        best=max(arms, key=lambda arm: metric.better(arms[arm].mean)),
    )


def _least(
    pair: tuple[str, str], values: Mapping[str, Sequence[RowValues]], data: DataFacts, metric: Metric
) -> dict[str, Any]:
    """What bounds the spread of a difference from below: the size of the test set, or the errors of its rows."""
    both = list(zip(*(values[arm] for arm in pair), strict=True))
    if not both:
        return {"examples": data.test}
    return {"least": root_mean_square([one.difference_error(other, metric.name) for one, other in both])}


def _over_seeds(rows: Sequence[CellResult], examples: int, values: Sequence[RowValues], metric: Metric) -> ArmResult:
    scores = [row.score("test", metric.name) for row in rows]
    mean = float(np.mean(scores))
    means = {}
    if metric.name == "r2":
        means = {name: float(np.mean([getattr(row, f"test_{name}") for row in rows])) for name in ("rmse", "mae")}
    return ArmResult(
        mean=mean,
        std=float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
        sampling_error=root_mean_square([each.error(metric.name) for each in values])
        if values
        else sampling_error(mean, examples),
        seeds=len(scores),
        **means,
    )
