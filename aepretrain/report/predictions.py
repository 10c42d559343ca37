"""Predicted against true values of a real target."""

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from aepretrain.report.charts import new_chart
from aepretrain.report.colours import PLACEHOLDERS, Colours
from aepretrain.report.inline import inline_svg
from aepretrain.report.page import figure
from aepretrain.results.predictions import Predictions
from aepretrain.results.statistics import r2

MOST = 1000
"""Points drawn at most, evenly spaced over the examples."""


def draw_predictions(found: Predictions, colours: Colours, colour: str | None = None) -> Figure:
    """Plot a point per example, and the line on which predictions are right.

    Args:
        found: Targets and predictions.
        colours: Colour scheme of the chart.
        colour: Colour of the points; ``None``: the first of the series.

    Example:
        >>> from aepretrain.report.colours import LIGHT
        >>> chart = draw_predictions(Predictions(np.array([1.0, 2.0]), np.array([1.5, 2.5])), LIGHT)
        >>> [line.get_ydata().tolist() for line in chart.axes[0].lines]
        [[1.0, 2.5], [1.5, 2.5]]
    """
    chart, axes = new_chart(3.6, 3.6, colours)
    rows = np.unique(np.linspace(0, len(found.targets) - 1, min(len(found.targets), MOST)).astype(int))
    targets, predicted = found.targets[rows], found.predicted[rows]
    ends = [float(find(np.concatenate([targets, predicted]))) for find in (np.min, np.max)]
    axes.plot(ends, ends, color=colours.muted, linewidth=1)
    axes.plot(targets, predicted, "o", color=colour or colours.series[0], alpha=0.5, markersize=3.5, markeredgewidth=0)
    axes.set_xlabel("target")
    axes.set_ylabel("prediction")
    return chart


def predictions_figure(found: Predictions, name: str, title: str, colour: str | None = None) -> Markup:
    """The chart with its caption.

    Args:
        found: Targets and predictions.
        name: Name of the chart in the page.
        title: What is shown.
        colour: Colour of the points; ``None``: the first of the series.
    """
    chart = draw_predictions(found, PLACEHOLDERS, colour)
    count = len(found.targets)
    shown = f", {MOST:,} of them drawn" if count > MOST else ""
    score = r2(found.targets, found.predicted)
    words = f"{count:,} test examples{shown}; R² is {score:.3f}. Right predictions are on the line."
    return figure(inline_svg(chart, name, f"Predictions against targets: {title}"), title, words)
