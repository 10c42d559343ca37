"""Statistics of paired runs: differences with intervals, their sampling errors, R², and a verdict in one sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from aepretrain.results.metric import METRICS, Metric
from aepretrain.results.records import absent

MIN_SEEDS = 3
"""Minimum number of seeds for a statement about a difference."""

BOOTSTRAP_SAMPLES = 10_000


@dataclass(frozen=True)
class PairedDifference:
    """Differences a - b over pairs that share all other conditions, in the unit of the values.

    Args:
        mean: Mean difference.
        std: Standard deviation of the differences; ``nan`` for a single pair.
        interval: 95 % confidence interval of the mean by Student's t, as wide as the test set requires at least.
        bootstrap: 95 % confidence interval of the mean by resampling the pairs; infinite for a single pair.
        wins: Pairs in which a is larger.
        losses: Pairs in which b is larger.
        pairs: Number of pairs.
        joint: The interval of the mean that holds together with those of all other label budgets in 95 % of cases;
            ``None`` in files of earlier versions.
    """

    mean: float
    std: float
    interval: tuple[float, float]
    bootstrap: tuple[float, float]
    wins: int
    losses: int
    pairs: int
    joint: tuple[float, float] | None = absent()


def paired_difference(
    a: Sequence[float], b: Sequence[float], *, questions: int = 1, examples: int | None = None, least: float = 0.0
) -> PairedDifference:
    r"""Mean difference of paired values with 95 % intervals.

    .. math:: \bar d \pm t_{1 - \alpha / 2, n - 1} \, s_d / \sqrt n, \qquad d_i = a_i - b_i

    with :math:`\alpha = 0.05`. The joint interval of m questions has :math:`\alpha = 0.05 / m` (Bonferroni): all m
    intervals hold together with a probability of at least 95 %.

    Accuracies on N test examples are multiples of 1/N, so a few pairs may agree by chance, and :math:`s_d` be far too
    small. Of each example the difference is -1, 0 or 1, and its variance at least :math:`|\bar d| (1 - |\bar d|)`.
    Student's intervals therefore take :math:`s_d` for at least

    .. math:: \sqrt{p (1 - p) / N}, \qquad p = \max(|\bar d|, 1 / N)

    For values that are no accuracies, ``least`` is the standard error of a difference due to the finite test set, such
    as that of :func:`r2_difference_error`.

    Args:
        a: One value per pair.
        b: The value of the same pair under the other condition.
        questions: Number m of differences that are asked for together, such as that of label budgets.
        examples: Number N of test examples, if the values are accuracies on them; ``None``: they are not.
        least: Least :math:`s_d` of values that are no accuracies; NaN if it is not known, which leaves no interval.

    Raises:
        ValueError: If the sequences are empty or differ in length.

    Reference:
        Student: The Probable Error of a Mean (1908); Efron: Bootstrap Methods (1979), percentile interval; Dunn:
        Multiple Comparisons Among Means (1961).

    Example:
        >>> found = paired_difference([0.93, 0.92, 0.94], [0.90, 0.90, 0.90])
        >>> round(found.mean, 3), found.wins, found.pairs
        (0.03, 3, 3)
        >>> low, high = paired_difference([0.52, 0.53, 0.51], [0.51, 0.52, 0.50], examples=100).interval
        >>> round(low, 3), round(high, 3)
        (-0.015, 0.035)
    """
    if not a or len(a) != len(b):
        raise ValueError(f"pairs need two sequences of one length, but got {len(a)} and {len(b)} values.")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    n, mean = len(differences), float(differences.mean())
    std = float(differences.std(ddof=1)) if n > 1 else math.nan
    least = least if examples is None else sampling_error(abs(mean), examples)
    least = math.inf if math.isnan(least) else least
    single, joint = (_half_width(max(std, least), n, alpha) for alpha in (0.05, 0.05 / questions))
    resampled = np.random.default_rng(0).choice(differences, (BOOTSTRAP_SAMPLES, n)).mean(axis=1)
    low, high = np.quantile(resampled, (0.025, 0.975)) if n > 1 else (-math.inf, math.inf)
    return PairedDifference(
        mean=mean,
        std=std,
        interval=(mean - single, mean + single),
        bootstrap=(float(low), float(high)),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        pairs=n,
        joint=(mean - joint, mean + joint),
    )


def _half_width(std: float, n: int, alpha: float) -> float:
    return float(scipy.stats.t.ppf(1 - alpha / 2, n - 1)) * std / math.sqrt(n) if n > 1 else math.inf


def sampling_error(accuracy: float, examples: int) -> float:
    r"""Standard error of an accuracy due to the finite test set alone, :math:`\sqrt{p (1 - p) / n}`.

    p is the accuracy, but at least one example away from 0 and 1: n right answers of n do not exclude an error.

    Args:
        accuracy: Accuracy, in ``[0, 1]``.
        examples: Size of the test set.

    Example:
        >>> round(sampling_error(0.9, 400), 3)
        0.015
        >>> sampling_error(1.0, 400) == sampling_error(399 / 400, 400)
        True
    """
    one = min(1 / examples, 0.5)
    p = min(max(accuracy, one), 1 - one)
    return math.sqrt(p * (1 - p) / examples)


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
        0.028
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


def mean_error(values: ArrayLike) -> float:
    r"""Standard error of a mean, :math:`s / \sqrt N`; NaN for a single value.

    Args:
        values: Shape ``(N,)``.

    Example:
        >>> mean_error([3.0, 5.0])
        1.0
    """
    x = np.asarray(values, np.float64)
    return float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.nan


def root_mean_square(values: Sequence[float]) -> float:
    """Root mean square of standard errors, one per seed; NaN if any is NaN or the list is empty.

    Example:
        >>> round(root_mean_square([3.0, 4.0]) ** 2, 6)
        12.5
    """
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else math.nan


def verdict(
    difference: PairedDifference, labels: str, *, margin: float = 1.0, metric: Metric = METRICS["accuracy"]
) -> str:
    """One-sentence verdict on whether pretraining helps, from differences of a metric.

    An interval on the better side of zero answers the question. One that spans zero says that there is no difference
    only if it lies within the margin; a wider one leaves the question undecided.

    Args:
        difference: Pretrained minus random.
        labels: The budget as text, such as ``100 labels``.
        margin: Largest difference that counts as none: in points of a share, else in the unit of the metric.
        metric: What differs.

    Example:
        >>> verdict(paired_difference([0.93, 0.94, 0.94], [0.90, 0.90, 0.90]), "100 labels")
        'helps: +3.7 points [2.2, 5.1] at 100 labels, 3 of 3 seeds'
        >>> verdict(paired_difference([0.93, 0.89, 0.91], [0.90, 0.90, 0.90]), "100 labels")
        'undecided: between -4.0 and +6.0 points at 100 labels, mean +1.0 over 3 seeds'
        >>> verdict(paired_difference([0.93, 0.94], [0.90, 0.90]), "100 labels")
        'cannot tell at 100 labels: 2 seeds are too few, at least 3 are needed'
        >>> verdict(paired_difference([5.0, 5.1, 5.2], [9.0, 9.2, 9.1]), "all examples", metric=METRICS["nats"])
        'helps: -4.00 nats [-4.25, -3.75] at all examples, 3 of 3 seeds'
    """
    if difference.pairs < MIN_SEEDS:
        seeds = "1 seed is" if difference.pairs == 1 else f"{difference.pairs} seeds are"
        return f"cannot tell at {labels}: {seeds} too few, at least {MIN_SEEDS} are needed"
    mean, low, high = (metric.factor * value for value in (difference.mean, *difference.interval))
    signed = [f"{value:+{metric.form(value, 1)}}" for value in (mean, low, high)]
    ends = [f"{value:{metric.form(value, 1)}}" for value in (low, high)]
    figures = f"{signed[0]} {metric.points} [{', '.join(ends)}] at {labels}"
    if low > 0 or high < 0:
        answer = "helps" if metric.better(mean) > 0 else "hurts"
        seeds = f"{difference.wins if mean > 0 else difference.losses} of {difference.pairs} seeds"
        return f"{answer}: {figures}, {seeds}{_not_jointly(difference, metric)}"
    if -margin <= low and high <= margin:
        return f"no difference seen: {figures}"
    seeds = f"mean {signed[0]} over {difference.pairs} seeds"
    return f"undecided: between {signed[1]} and {signed[2]} {metric.points} at {labels}, {seeds}"


def _not_jointly(difference: PairedDifference, metric: Metric) -> str:
    """A remark where the interval that holds for all label budgets together spans zero, else nothing."""
    low, high = (metric.factor * value for value in difference.joint or (math.nan, math.nan))
    ends = f"[{low:{metric.form(low, 1)}}, {high:{metric.form(high, 1)}}]"
    return f", but {ends} jointly over all budgets" if low <= 0 <= high else ""
