"""Statistics of regression: R², and how far it may be off because the test set is finite."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


def r2(targets: ArrayLike, predictions: ArrayLike) -> float:
    r"""Coefficient of determination: the share of the targets' variance that predictions explain.

    .. math:: R^2 = 1 - \frac{\sum_i (y_i - \hat y_i)^2}{\sum_i (y_i - \bar y)^2}

    1 is perfect, 0 as good as the mean of these targets, and below 0 worse than it. As in scikit-learn, it is 1 or 0 if
    all targets are equal.

    Args:
        targets: :math:`y`, shape ``(N,)`` or ``(N, T)``; both sums are over all T targets.
        predictions: :math:`\hat y`, of the same shape.

    Example:
        >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
        0.5
    """
    y, predicted = np.asarray(targets, np.float64), np.asarray(predictions, np.float64)
    squared, spread = np.square(y - predicted).sum(), np.square(y - y.mean(axis=0)).sum()
    if spread == 0:
        return float(squared == 0)
    return float(1 - squared / spread)


def r2_error(targets: ArrayLike, predictions: ArrayLike) -> float:
    """Standard error of R² due to the finite test set alone, by :func:`r2_difference_error` from the mean.

    Example:
        >>> y = np.arange(100.0)
        >>> round(r2_error(y, y + 20 * np.sin(y)), 3)
        0.022
    """
    y = np.asarray(targets, np.float64)
    return r2_difference_error(y, predictions, np.full_like(y, y.mean()))


def r2_difference_error(targets: ArrayLike, one: ArrayLike, other: ArrayLike) -> float:
    r"""Standard error of the difference of two R² on the same rows, due to the finite test set alone.

    A difference of R² is a ratio of means over rows, :math:`D = \bar d / \bar s`, whose standard error is that of its
    linearization (delta method, which agrees with the bootstrap over rows):

    .. math::
        \frac{1}{\bar s} \sqrt{\frac{\sum_i (d_i - D s_i)^2}{N (N - 1)}}, \qquad
        d_i = (y_i - b_i)^2 - (y_i - a_i)^2, \qquad s_i = (y_i - \bar y)^2

    Args:
        targets: :math:`y`, shape ``(N,)``.
        one: Predictions :math:`a`.
        other: Predictions :math:`b` of the same rows.

    Returns:
        The standard error; NaN for a single row, or if all targets are equal.

    Reference:
        Efron, Tibshirani: An Introduction to the Bootstrap (1993), chapter 6 and section 21.6.

    Example:
        >>> y = np.arange(100.0)
        >>> r2_difference_error(y, y + 1, y - 1)
        0.0
    """
    y, a, b = (np.asarray(values, np.float64) for values in (targets, one, other))
    s, d = np.square(y - y.mean()), np.square(y - b) - np.square(y - a)
    if len(y) < 2 or not s.any():
        return math.nan
    residual = d - d.mean() / s.mean() * s
    return float(np.sqrt(np.square(residual).sum() / (len(y) * (len(y) - 1))) / s.mean())


def root_mean_square(values: Sequence[float]) -> float:
    """Root mean square of standard errors, such as those of the seeds; NaN if one is, or there are none.

    Example:
        >>> root_mean_square([3.0, 4.0]) ** 2
        12.5
    """
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else math.nan
