"""What the cells of a comparison say together: ``results.csv``, means, differences and a verdict per label budget."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from aepretrain.compare.arms import CONTRASTS, CONTROL_QUESTION, LONGER_QUESTION, QUESTION
from aepretrain.compare.options import Comparison
from aepretrain.evaluation.statistics import PairedDifference, paired_difference, sampling_error, verdict
from aepretrain.storage.files import write_whole

COLUMNS = (
    "arm", "seed", "labels", "validation_accuracy", "test_accuracy", "epochs", "steps", "seconds", "hyperparameters"
)  # fmt: skip


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``results.csv`` whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "hyperparameters": _words(row["hyperparameters"])} for row in rows)
    write_whole(path, text.getvalue().encode())


def _words(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def summarize(rows: Sequence[dict[str, Any]], comparison: Comparison, data: dict[str, Any]) -> dict[str, Any]:
    """Means, spreads, paired differences and a verdict per label budget.

    Args:
        rows: Rows of ``results.csv``.
        comparison: What was compared.
        data: What ``Experiment.describe_data`` says.

    Returns:
        ``budgets``: per label budget the ``arms`` (mean and standard deviation over seeds, sampling error of the test
        set), the ``differences`` between arms, the ``verdict`` on ``pretrained`` against ``random``, the same at
        equal compute (``longer_verdict``) and on the ``control``, and the ``best`` of all arms and baselines by its
        mean.
    """
    test_examples = data["test"]
    budgets = []
    for labels in comparison.labels:
        name = "all" if labels is None else labels
        accuracies = {
            arm: [row["test_accuracy"] for row in rows if (row["arm"], row["labels"]) == (arm, name)]
            for arm in (*comparison.arms, *(comparison.baselines or ()))
        }
        differences = {
            pair: paired_difference(accuracies[pair[0]], accuracies[pair[1]])
            for pair in CONTRASTS
            if all(arm in accuracies for arm in pair)
        }
        budget: dict[str, Any] = {
            "labels": name,
            "arms": {arm: _spread(values, test_examples) for arm, values in accuracies.items()},
            "differences": {f"{one} - {other}": asdict(found) for (one, other), found in differences.items()},
            "verdict": _verdict(differences, QUESTION, name),
            "longer_verdict": _verdict(differences, LONGER_QUESTION, name),
            "control_verdict": _verdict(differences, CONTROL_QUESTION, name),
            "best": max(accuracies, key=lambda arm: np.mean(accuracies[arm])),
        }
        budgets.append(budget)
    return {
        "data": data["name"],
        "seeds": comparison.most_seeds,
        "combinations": len(comparison.settings()),
        "validation_examples": data["validation"],
        "test_examples": test_examples,
        "budgets": budgets,
    }


def _verdict(differences: dict[tuple[str, str], PairedDifference], pair: tuple[str, str], budget: Any) -> str | None:
    return verdict(differences[pair], f"{budget} labels") if pair in differences else None


def _spread(accuracies: Sequence[float], examples: int) -> dict[str, Any]:
    mean = float(np.mean(accuracies))
    return {
        "mean": mean,
        "std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else math.nan,
        "sampling_error": sampling_error(mean, examples),
        "seeds": len(accuracies),
    }
