"""Predictions of real targets on test data: ``predictions.npz`` in the folder of a head, a cell or a baseline."""

from dataclasses import dataclass
from typing import ClassVar, Self

from aepretrain.results.metric import MetricName
from aepretrain.results.row_values import RowValues
from aepretrain.results.statistics import r2_difference_error, r2_error
from aepretrain.storage.array_files import Array


@dataclass(frozen=True)
class Predictions(RowValues):
    """Targets and predictions of the same test examples, in units of the target.

    Args:
        targets: Shape ``(N,)``.
        predicted: Shape ``(N,)``.

    Raises:
        ValueError: If they are not as many, or not finite.

    Example:
        >>> import numpy as np
        >>> len(Predictions(np.array([1.0, 2.0]), np.array([1.5, 2.0])).targets)
        2
    """

    file: ClassVar[str] = "predictions.npz"
    words: ClassVar[str] = "the predictions of its test data"
    targets: Array
    predicted: Array

    def error(self, metric: MetricName) -> float:
        """The standard error of the R² due to the finite test set: see :func:`r2_error`."""
        return r2_error(self.targets, self.predicted)

    def difference_error(self, other: Self, metric: MetricName) -> float:
        """The standard error of the difference of two R² on the same rows: see :func:`r2_difference_error`."""
        return r2_difference_error(self.targets, self.predicted, other.predicted)
