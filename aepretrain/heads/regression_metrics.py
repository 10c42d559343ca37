"""Metrics of predictions of real targets."""

import numpy as np
from numpy.typing import NDArray

from aepretrain.results.regressor import RegressionMeasurement
from aepretrain.results.statistics import r2, r2_error


def measure_predictions(
    targets: NDArray[np.float64], predictions: NDArray[np.float64], scale: NDArray[np.float64] | float = 1.0
) -> RegressionMeasurement:
    """Compare predictions with the targets.

    Args:
        targets: Shape ``(N,)`` or ``(N, T)``; R², RMSE and MAE are over all T targets.
        predictions: Of the same shape.
        scale: What the loss divides each target by, shape ``(T,)`` or ``()``.

    Example:
        >>> found = measure_predictions(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))
        >>> found.r2, round(found.mae, 3)
        (0.5, 0.333)
    """
    errors = (targets - predictions).reshape(len(targets), -1)
    single = targets.size == len(targets)
    return RegressionMeasurement(
        r2=r2(targets, predictions),
        rmse=float(np.sqrt(np.square(errors).mean())),
        mae=float(np.abs(errors).mean()),
        loss=float(0.5 * np.square(errors / scale).sum(axis=1).mean()),
        examples=len(targets),
        sampling_error=r2_error(targets.ravel(), predictions.ravel()) if single else float("nan"),
    )
