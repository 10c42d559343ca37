"""The result of one cell of a comparison: a row of ``results.csv``, and the cell's own ``row.json``."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from aepretrain.errors import StorageError
from aepretrain.results.classifier import ClassifierResult
from aepretrain.results.head import HeadResult
from aepretrain.results.metric import METRICS, Metric, MetricName
from aepretrain.results.reconstruction import ReconstructionMeasurement
from aepretrain.results.records import FileRecord, absent, check_name, check_range, from_plain, to_plain
from aepretrain.results.regressor import RegressionMeasurement
from aepretrain.storage.files import write_atomically
from aepretrain.storage.guard import read_text
from aepretrain.storage.json_files import reason_of

Split = Literal["validation", "test"]
SPLITS: tuple[Split, ...] = ("validation", "test")
"""The data on which a cell is measured."""
Labels = int | Literal["all"]
"""A label budget in results: a number of labelled examples, or ``"all"``."""


@dataclass(frozen=True)
class CellResult(FileRecord):
    """The result of an arm or a baseline with one seed and one label budget: ``row.json``.

    Args:
        arm: Name of the arm or baseline.
        seed: The seed.
        labels: The label budget.
        validation_accuracy: Accuracy on validation data, in ``[0, 1]``; ``None`` for real targets.
        test_accuracy: Accuracy on test data, in ``[0, 1]``; ``None`` for real targets.
        epochs: Epochs of fine-tuning; ``None`` for a baseline.
        steps: Optimizer steps of fine-tuning; ``None`` for a baseline.
        seconds: Wall-clock time of fine-tuning, or of a baseline with its search; ``None`` if unknown.
        hyperparameters: Values chosen on validation data, by name; they are text if read from ``results.csv``.
        data: Digest of the fingerprint of the data, in ``row.json`` alone; ``None`` if unknown.
        validation_r2: R² on validation data; ``None`` for classes.
        test_r2: R² on test data; ``None`` for classes.
        test_rmse: Root mean squared error on test data, in units of the target.
        test_mae: Mean absolute error on test data, in units of the target.
        validation_squared_error: Squared error of reconstruction on validation data; ``None`` for heads.
        test_squared_error: Squared error of reconstruction on test data; ``None`` for heads.
        validation_nats: Reconstruction loss on validation data, in nats; ``None`` for heads.
        test_nats: Reconstruction loss on test data, in nats; ``None`` for heads.

    Example:
        >>> cell = CellResult("knn", 0, 50, 0.88, 0.86, seconds=0.01, hyperparameters={"k": 1})
        >>> cell.labels, cell.epochs, cell.settings
        (50, None, 'k=1')
    """

    arm: str
    seed: int
    labels: Labels
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = absent()
    validation_r2: float | None = absent()
    test_r2: float | None = absent()
    test_rmse: float | None = absent()
    test_mae: float | None = absent()
    validation_squared_error: float | None = absent()
    test_squared_error: float | None = absent()
    validation_nats: float | None = absent()
    test_nats: float | None = absent()

    def __post_init__(self) -> None:
        check_name("arm", self.arm)
        check_range(self, "seed", "epochs", "steps")
        for name, metric in METRICS.items():
            metric.check(self, f"validation_{name}", f"test_{name}")
        names = [f"{split}_{name}" for name in (self.metric.name, *self.metric.also) for split in SPLITS]
        if missing := [name for name in names if getattr(self, name) is None]:
            raise ValueError(f"{missing[0]} is missing")

    @property
    def metric(self) -> Metric:
        """What the network was trained for: the first metric that was measured on test data."""
        return METRICS[next((name for name in METRICS if getattr(self, f"test_{name}") is not None), "accuracy")]

    def score(self, split: Split, metric: MetricName | None = None) -> float:
        """A figure on the data of a split.

        Args:
            split: The split.
            metric: Name of the figure; ``None``: that of :attr:`metric`.
        """
        found = getattr(self, f"{split}_{metric or self.metric.name}")
        assert found is not None
        return float(found)

    @property
    def settings(self) -> str:
        """The hyperparameters as written to ``results.csv``: ``name=value``, separated by spaces."""
        return " ".join(f"{name}={value}" for name, value in self.hyperparameters.items())


SCORES: Mapping[MetricName, tuple[str, ...]] = {
    "accuracy": ("validation_accuracy", "test_accuracy"),
    "r2": ("validation_r2", "test_r2", "test_rmse", "test_mae"),
    "squared_error": ("validation_squared_error", "test_squared_error", "validation_nats", "test_nats"),
}
"""The columns of the metric that networks are trained for."""
FIRST = ("arm", "seed", "labels")
OTHERS = ("epochs", "steps", "seconds", "hyperparameters")
COLUMNS = (*FIRST, *SCORES["accuracy"], *OTHERS)
"""The columns of a comparison of accuracies, whose place the columns of another metric take."""


def scores_of(found: HeadResult) -> dict[str, Any]:
    """The scores of a trained head, by the names of their columns."""
    if isinstance(found, ClassifierResult):
        return {"validation_accuracy": found.validation.accuracy, "test_accuracy": found.test.accuracy}
    return regression_scores(found.validation, found.test)


def regression_scores(validation: RegressionMeasurement, test: RegressionMeasurement) -> dict[str, Any]:
    """The scores of predictions of a real target, by the names of their columns."""
    return {"validation_r2": validation.r2, "test_r2": test.r2, "test_rmse": test.rmse, "test_mae": test.mae}


def reconstruction_scores(validation: ReconstructionMeasurement, test: ReconstructionMeasurement) -> dict[str, float]:
    """The errors of reconstructions, by the names of their columns."""
    splits = dict(zip(SPLITS, (validation, test), strict=True))
    names = ("squared_error", "nats")
    return {f"{split}_{name}": getattr(found, name) for name in names for split, found in splits.items()}


def columns_of(rows: Sequence[CellResult]) -> tuple[str, ...]:
    """The columns of ``results.csv`` for these rows: those of their metric."""
    metric = rows[0].metric.name if rows else "accuracy"
    return (*FIRST, *SCORES[metric], *OTHERS)


def write_rows(path: Path, rows: Sequence[CellResult]) -> None:
    """Write ``results.csv`` atomically.

    Raises:
        StorageError: If it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns_of(rows), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**to_plain(row), "hyperparameters": row.settings} for row in rows)
    write_atomically(path, text.getvalue().encode())


def read_rows(path: Path) -> list[CellResult]:
    """Read ``results.csv``.

    Raises:
        StorageError: If it is missing, damaged or lacks a required column.
    """
    try:
        return [_cell(row) for row in csv.DictReader(io.StringIO(read_text(path), newline=""))]
    except (OSError, ValueError, csv.Error, MemoryError) as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. Run compare again.") from error


def _cell(row: Mapping[str, str]) -> CellResult:
    found = {name: PARSERS[name](text) for name, text in row.items() if name in PARSERS and text}
    return from_plain(CellResult, found)


def _number(text: str) -> Any:
    """Parse a number; other text is returned as is, and :func:`from_plain` rejects it if a number is required."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _settings(text: str) -> Mapping[str, str] | str:
    """Parse settings by name; values may contain spaces. :func:`from_plain` rejects the text returned otherwise."""
    parts = [part.split("=", 1) for part in re.split(r" (?=[^ =]+=)", text)]
    return dict(parts) if all(len(part) == 2 for part in parts) else text


PARSERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys((*COLUMNS, *chain.from_iterable(SCORES.values())), _number),
    "arm": str,
    "hyperparameters": _settings,
}
"""The parser of each column."""
