"""The summary of a comparison: means, differences and a verdict per label budget."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aepretrain.compare.arms import CONTRASTS, CONTROL_QUESTION, LONGER_QUESTION, QUESTION
from aepretrain.compare.options import Comparison
from aepretrain.results.cell import CellResult, Labels
from aepretrain.results.comparison import ArmResult, BudgetResult, ComparisonResult
from aepretrain.results.metric import METRICS, Metric
from aepretrain.results.predictions import Predictions
from aepretrain.results.run import DataFacts
from aepretrain.results.statistics import (
    PairedDifference,
    paired_difference,
    r2_difference_error,
    r2_error,
    root_mean_square,
    sampling_error,
    verdict,
)


def summarize(
    rows: Sequence[CellResult],
    comparison: Comparison,
    data: DataFacts,
    predictions: Callable[[CellResult], Predictions] | None = None,
) -> ComparisonResult:
    """Means, spreads, paired differences and a verdict per label budget.

    Args:
        rows: The rows of all cells.
        comparison: The options of the comparison.
        data: The data set.
        predictions: Gives the predictions of a cell on test data, which the sampling errors of R² need.
    """
    budgets = []
    metric = METRICS["accuracy" if data.targets is None else "r2"]
    for labels in comparison.labels:
        name: Labels = "all" if labels is None else labels
        cells = {
            arm: [row for row in rows if (row.arm, row.labels) == (arm, name)]
            for arm in (*comparison.arms, *(comparison.baselines or ()))
        }
        predicted = {} if predictions is None else {arm: [*map(predictions, own)] for arm, own in cells.items()}
        differences = {
            pair: paired_difference(
                *([row.score for row in cells[arm]] for arm in pair),
                questions=len(comparison.labels),
                **_least(pair, predicted, data, metric),
            )
            for pair in CONTRASTS
            if all(arm in cells for arm in pair)
        }
        arms = {arm: _over_seeds(own, data.test, predicted.get(arm, ())) for arm, own in cells.items()}
        budgets.append(
            BudgetResult(
                labels=name,
                arms=arms,
                differences={f"{one} - {other}": found for (one, other), found in differences.items()},
                verdict=_verdict(differences, QUESTION, name, comparison.margin, metric),
                longer_verdict=_verdict(differences, LONGER_QUESTION, name, comparison.margin, metric),
                control_verdict=_verdict(differences, CONTROL_QUESTION, name, comparison.margin, metric),
                best=max(arms, key=lambda arm: arms[arm].mean),
            )
        )
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


def _verdict(
    differences: Mapping[tuple[str, str], PairedDifference],
    pair: tuple[str, str],
    labels: Labels,
    margin: float,
    metric: Metric,
) -> str | None:
    if pair not in differences:
        return None
    return verdict(differences[pair], f"{labels} labels", margin=margin, points=metric.points)


def _least(
    pair: tuple[str, str], predicted: Mapping[str, Sequence[Predictions]], data: DataFacts, metric: Metric
) -> dict[str, Any]:
    """What bounds the spread of a difference from below: the size of the test set, or the errors of its rows."""
    if metric.name == "accuracy":
        return {"examples": data.test}
    errors = [
        r2_difference_error(one.targets, one.predicted, other.predicted)
        for one, other in zip(*(predicted[arm] for arm in pair), strict=True)
    ]
    return {"least": root_mean_square(errors)}


def _over_seeds(rows: Sequence[CellResult], examples: int, predicted: Sequence[Predictions]) -> ArmResult:
    scores = [row.score for row in rows]
    mean, means = float(np.mean(scores)), {}
    if not predicted:
        error = sampling_error(mean, examples)
    else:
        error = root_mean_square([r2_error(each.targets, each.predicted) for each in predicted])
        means = {name: float(np.mean([getattr(row, f"test_{name}") for row in rows])) for name in ("rmse", "mae")}
    return ArmResult(
        mean=mean,
        std=float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
        sampling_error=error,
        seeds=len(scores),
        **means,
    )
