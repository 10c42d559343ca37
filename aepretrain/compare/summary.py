"""The summary of a comparison: means, differences and a verdict per label budget."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from aepretrain.compare.arms import CONTRASTS, CONTROL_QUESTION, LONGER_QUESTION, QUESTION
from aepretrain.compare.options import Comparison
from aepretrain.results.cell import CellResult, Labels
from aepretrain.results.comparison import ArmResult, BudgetResult, ComparisonResult
from aepretrain.results.run import DataFacts
from aepretrain.results.statistics import PairedDifference, paired_difference, sampling_error, verdict


def summarize(rows: Sequence[CellResult], comparison: Comparison, data: DataFacts) -> ComparisonResult:
    """Means, spreads, paired differences and a verdict per label budget.

    Args:
        rows: The rows of all cells.
        comparison: The options of the comparison.
        data: The data set.
    """
    budgets = []
    for labels in comparison.labels:
        name: Labels = "all" if labels is None else labels
        accuracies = {
            arm: [row.test_accuracy for row in rows if (row.arm, row.labels) == (arm, name)]
            for arm in (*comparison.arms, *(comparison.baselines or ()))
        }
        differences = {
            pair: paired_difference(
                accuracies[pair[0]], accuracies[pair[1]], questions=len(comparison.labels), examples=data.test
            )
            for pair in CONTRASTS
            if all(arm in accuracies for arm in pair)
        }
        arms = {arm: _over_seeds(values, data.test) for arm, values in accuracies.items()}
        budgets.append(
            BudgetResult(
                labels=name,
                arms=arms,
                differences={f"{one} - {other}": found for (one, other), found in differences.items()},
                verdict=_verdict(differences, QUESTION, name, comparison.margin),
                longer_verdict=_verdict(differences, LONGER_QUESTION, name, comparison.margin),
                control_verdict=_verdict(differences, CONTROL_QUESTION, name, comparison.margin),
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
    )


def _verdict(
    differences: Mapping[tuple[str, str], PairedDifference], pair: tuple[str, str], labels: Labels, margin: float
) -> str | None:
    return verdict(differences[pair], f"{labels} labels", margin=margin) if pair in differences else None


def _over_seeds(accuracies: Sequence[float], examples: int) -> ArmResult:
    mean = float(np.mean(accuracies))
    return ArmResult(
        mean=mean,
        std=float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else math.nan,
        sampling_error=sampling_error(mean, examples),
        seeds=len(accuracies),
    )
