"""Statistics of paired runs: differences with intervals, and a verdict in one sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

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
        bootstrap: 95 % confidence interval of the mean by resampling the pairs.
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
    as that of :func:`~aepretrain.results.regression_statistics.r2_difference_error`.

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
    low, high = np.quantile(resampled, (0.025, 0.975))
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


def verdict(difference: PairedDifference, labels: str, *, margin: float = 1.0, points: str = "points") -> str:
    """One-sentence verdict on whether pretraining helps, from differences of accuracies or R² (fractions).

    An interval above or below zero answers the question. One that spans zero says that there is no difference only if
    it lies within the margin; a wider one leaves the question undecided.

    Args:
        difference: Pretrained minus random.
        labels: The label budget as text, such as ``100 labels``.
        margin: Largest difference that counts as none, in points.
        points: What hundredths of the values are called.

    Example:
        >>> verdict(paired_difference([0.93, 0.94, 0.94], [0.90, 0.90, 0.90]), "100 labels")
        'helps: +3.7 points [2.2, 5.1] at 100 labels, 3 of 3 seeds'
        >>> verdict(paired_difference([0.93, 0.89, 0.91], [0.90, 0.90, 0.90]), "100 labels")
        'undecided: between -4.0 and +6.0 points at 100 labels, mean +1.0 over 3 seeds'
        >>> verdict(paired_difference([0.93, 0.94], [0.90, 0.90]), "100 labels")
        'cannot tell at 100 labels: 2 seeds are too few, at least 3 are needed'
    """
    if difference.pairs < MIN_SEEDS:
        seeds = "1 seed is" if difference.pairs == 1 else f"{difference.pairs} seeds are"
        return f"cannot tell at {labels}: {seeds} too few, at least {MIN_SEEDS} are needed"
    mean, low, high = (100 * value for value in (difference.mean, *difference.interval))
    figures = f"{mean:+.1f} {points} [{low:.1f}, {high:.1f}] at {labels}"
    if low > 0:
        return f"helps: {figures}, {difference.wins} of {difference.pairs} seeds{_not_jointly(difference)}"
    if high < 0:
        return f"hurts: {figures}, {difference.losses} of {difference.pairs} seeds{_not_jointly(difference)}"
    if -margin <= low and high <= margin:
        return f"no difference seen: {figures}"
    seeds = f"mean {mean:+.1f} over {difference.pairs} seeds"
    return f"undecided: between {low:+.1f} and {high:+.1f} {points} at {labels}, {seeds}"


def _not_jointly(difference: PairedDifference) -> str:
    """A remark where the interval that holds for all label budgets together spans zero, else nothing."""
    low, high = difference.joint or (math.nan, math.nan)
    return f", but [{100 * low:.1f}, {100 * high:.1f}] jointly over all budgets" if low <= 0 <= high else ""
