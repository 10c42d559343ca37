"""Errors of the reconstruction of single test examples: ``errors.npz`` in the folder of a cell or a baseline."""

from dataclasses import dataclass
from typing import ClassVar, Self

from aepretrain.results.metric import MetricName
from aepretrain.results.row_values import RowValues
from aepretrain.results.statistics import mean_error
from aepretrain.storage.array_files import Array


@dataclass(frozen=True)
class RowErrors(RowValues):
    """The errors of the reconstructions of examples, each summed over features.

    Args:
        squared_error: Shape ``(N,)``.
        nats: Loss of the first layer's likelihood, shape ``(N,)``.

    Raises:
        ValueError: If they are not as many, or not finite.

    Example:
        >>> import numpy as np
        >>> RowErrors(np.array([3.0, 5.0]), np.array([60.0, 70.0])).error("squared_error")
        1.0
    """

    file: ClassVar[str] = "errors.npz"
    words: ClassVar[str] = "the errors of its test examples"
    squared_error: Array
    nats: Array

    def error(self, metric: MetricName) -> float:
        """The standard error of the mean of a metric due to the finite test set."""
        return mean_error(self.arrays[metric])

    def difference_error(self, other: Self, metric: MetricName) -> float:
        """The standard error of the difference of two means over the same rows."""
        return mean_error(self.arrays[metric] - other.arrays[metric])
