"""Charts of a comparison: its metric by labels, paired differences, overlaid learning curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.charts import SMALL, count_epochs, label_ends, new_chart
from aepretrain.report.colours import Colours, arm_colours
from aepretrain.report.comparison_files import ComparisonFiles
from aepretrain.report.run_files import Curve
from aepretrain.results.cell import Labels

BASELINE_DASHES = ((4, 2), (1.5, 1.5), (6, 2, 1.5, 2), (2, 3), (8, 3))
BASELINE_MARKERS = "sDv^P"


def draw_metric_by_labels(files: ComparisonFiles, colours: Colours) -> Figure:
    """Plot the mean test metric by label budget: a line per arm, with a band of one standard deviation over seeds.

    Baselines have no band. With a single budget, there is a column per arm instead.

    Args:
        files: The comparison.
        colours: Colour scheme of the chart.
    """
    if len(files.labels) == 1:
        return _draw_arms(files, colours)
    chart, axes = new_chart(5.2, 3.9, colours)
    places, names = budget_places(files)
    paint = arm_colours(files.arms, colours)
    ends = []
    for arm in files.arms:
        means, spreads = (
            files.metric.factor * np.array(part)
            for part in zip(*(files.spread(arm, b) for b in files.labels), strict=True)
        )
        axes.plot(places, means, **_style(arm, paint[arm], files.arms))
        if arm not in BASELINES and not np.isnan(spreads).all():
            # A band needs two adjacent budgets; a bar also shows the spread next to a budget with a single seed.
            axes.vlines(places, means - spreads, means + spreads, color=paint[arm], alpha=0.45, linewidth=1)
            axes.fill_between(places, means - spreads, means + spreads, color=paint[arm], alpha=0.16, linewidth=0)
        measured = [(x, y) for x, y in zip(places, means, strict=True) if not math.isnan(y)]
        if measured:
            ends.append((*measured[-1], f"{arm} {measured[-1][1]:.1f}", paint[arm]))
    if files.examples("all") is not None or "all" not in files.labels:
        axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(places, names)
    axes.set_xlabel(files.metric.examples)
    axes.set_ylabel(f"test {files.metric.title}")
    label_ends(axes, ends, colours)
    return chart


def budget_places(files: ComparisonFiles) -> tuple[list[float], list[str]]:
    """Position and tick label of each budget; positions are numbers of examples, or indices if one is unknown."""
    examples = [files.examples(labels) for labels in files.labels]
    known = [float(count) for count in examples if count is not None]
    if len(known) < len(examples):
        return [float(k) for k in range(len(examples))], [str(labels) for labels in files.labels]
    names = [f"all\n({count:,})" if b == "all" else str(b) for b, count in zip(files.labels, examples, strict=True)]
    return known, names


def _style(arm: str, colour: str, arms: Sequence[str]) -> dict[str, Any]:
    """Line style of an arm: solid and thick; for a baseline, thin with its own dashes and marker."""
    if arm not in BASELINES:
        return {"color": colour, "linewidth": 2, "marker": "o", "markersize": 4.5}
    k = [name for name in arms if name in BASELINES].index(arm)
    dashes, marker = BASELINE_DASHES[k % len(BASELINE_DASHES)], BASELINE_MARKERS[k % len(BASELINE_MARKERS)]
    return {"color": colour, "linewidth": 1.1, "dashes": dashes, "marker": marker, "markersize": 3.5}


def _draw_arms(files: ComparisonFiles, colours: Colours) -> Figure:
    """Plot a column per arm: a dot per seed, with mean and standard deviation beside them."""
    chart, axes = new_chart(5.2, 3.9, colours)
    paint, labels = arm_colours(files.arms, colours), files.labels[0]
    for place, arm in enumerate(files.arms):
        values = [files.metric.factor * value for value in files.scores(arm, labels).values()]
        mean, spread = (files.metric.factor * value for value in files.spread(arm, labels))
        _dots(axes, place - 0.12, values, paint[arm])
        axes.errorbar(place + 0.12, mean, 0 if math.isnan(spread) else spread, color=paint[arm], fmt="o", capsize=4)
    axes.set_xticks(range(len(files.arms)), [arm.replace("-", "\n") for arm in files.arms])
    axes.set_ylabel(f"test {files.metric.title}")
    return chart


def _dots(axes: Axes, x: float, values: Sequence[float], colour: str) -> None:
    axes.plot([x] * len(values), values, "o", color=colour, alpha=0.5, markersize=4, markeredgewidth=0)


def draw_differences(
    files: ComparisonFiles, pair: tuple[str, str], intervals: Mapping[Labels, tuple[float, float]], colours: Colours
) -> Figure:
    """Plot paired differences by label budget: a dot per seed, the mean with its 95 % interval, and zero.

    Args:
        files: The comparison.
        pair: The two arms; the second is subtracted from the first.
        intervals: Interval of the mean by label budget; budgets without one are absent.
        colours: Colour scheme of the chart.
    """
    chart, axes = new_chart(3.6, 3.9, colours)
    axes.axhline(0, color=colours.ink, linewidth=1)
    for place, labels in enumerate(files.labels):
        values = [files.metric.factor * value for value in files.differences(*pair, labels)]
        if not values:
            continue
        _dots(axes, place - 0.1, values, colours.series[0])
        mean = float(np.mean(values))
        if labels in intervals:
            low, high = (files.metric.factor * value for value in intervals[labels])
            axes.errorbar(place + 0.1, mean, [[mean - low], [high - mean]], color=colours.ink, capsize=5, linewidth=1.6)
        axes.plot(place + 0.1, mean, "D", color=colours.ink, markersize=5)
    axes.set_xlim(-0.6, len(files.labels) - 0.4)
    axes.set_xticks(range(len(files.labels)), budget_places(files)[1])
    axes.set_xlabel(files.metric.examples)
    axes.set_ylabel(f"{pair[0]} − {pair[1]}, in {files.metric.unit}")  # noqa: RUF001
    return chart


def draw_overlaid_curves(
    curves: Mapping[str, Sequence[Curve]],
    colours: Colours,
    arms: Sequence[str] = (),
    name: str = "validation error in %",
    *,
    factor: float = 100,
    of: str = "fine-tuning",
) -> Figure:
    """Plot validation error over epochs: a thin line per seed, and a thick line for the mean of each arm.

    The mean covers the epochs that all seeds have.

    Args:
        curves: Curves by arm, one per seed.
        colours: Colour scheme of the chart.
        arms: All arms of the comparison, which determine the colours; empty: those with curves.
        name: What the values are, times the factor.
        factor: What the values are multiplied by.
        of: The training whose epochs are counted.

    Example:
        >>> from aepretrain.report.colours import LIGHT
        >>> chart = draw_overlaid_curves({"random": [{0: 0.9, 1: 0.5}, {0: 0.7, 1: 0.3, 2: 0.2}]}, LIGHT)
        >>> [line.get_ydata().round().tolist() for line in chart.axes[0].lines]
        [[90.0, 50.0], [70.0, 30.0, 20.0], [80.0, 40.0]]
    """
    chart, axes = new_chart(4.4, 3.1, colours)
    paint = arm_colours(arms or curves, colours)
    for arm in curves:
        colour = paint[arm]
        for curve in curves[arm]:
            errors = factor * np.array(list(curve.values()))
            axes.plot(list(curve), errors, color=colour, linewidth=0.8, alpha=0.45)
        common = [epoch for epoch in curves[arm][0] if all(epoch in curve for curve in curves[arm])]
        mean = factor * np.array([[curve[epoch] for epoch in common] for curve in curves[arm]]).mean(axis=0)
        marker = "o" if len(common) == 1 else None
        axes.plot(common, mean, color=colour, linewidth=2.2, label=arm, marker=marker)
    count_epochs(axes, f"epoch of {of}")
    axes.set_ylabel(name)
    chart.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL, labelcolor=colours.ink)
    return chart
