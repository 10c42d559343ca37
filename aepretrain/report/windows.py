"""Windows of one dimension, such as those of sensors and spectra, drawn as lines."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from aepretrain.report.charts import SMALL
from aepretrain.report.colours import LIGHT, Colours

LEAST = 16
"""Least number of values without names that are taken for a window and not for features."""
COLUMNS = 4
CORRUPTED = "corrupted"
WIDTH, HEIGHT, MARGIN, LEGEND = 2.2, 1.3, 0.5, 0.4
"""Inches: of axes with their margins, of the margin of labels at the left, and of the legend."""
CHANNELS = 4
"""Maximum number of channels that are drawn."""


def are_windows(in_shape: Sequence[int], columns: Sequence[str] | None = None) -> bool:
    """Whether examples are windows: channels of steps, or at least :data:`LEAST` values named by numbers or not at all.

    Args:
        in_shape: Shape of one example.
        columns: Names of the values; ``None``: they have none.

    Example:
        >>> are_windows((3, 60)), are_windows((60,), ["400.5", "401"] * 30), are_windows((60,), ["age", "sex"] * 30)
        (True, True, False)
    """
    if len(in_shape) == 2:
        return in_shape[1] > 1
    return len(in_shape) == 1 and in_shape[0] >= LEAST and all(map(_is_number, columns or ()))


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def draw_windows(lines: Mapping[str, NDArray[np.floating]], colours: Colours = LIGHT) -> Figure:
    """Draw windows in axes of their own, with a line for each of what is named, such as original and reconstructed.

    Args:
        lines: Windows by name, shape ``(N, length)`` or ``(N, channels, length)``. The first is drawn in the colour of
            text, corrupted ones are faint. Of several channels, each has a row of axes, and :data:`COLUMNS` windows are
            drawn.
        colours: Colour scheme of the figure.

    Example:
        >>> figure = draw_windows({"original": np.zeros((6, 60)), "reconstructed": np.ones((6, 60))})
        >>> len(figure.axes), len(figure.axes[0].lines)
        (6, 2)
    """
    given = {name: x if x.ndim == 3 else x[:, None] for name, x in lines.items()}
    count, channels, _ = next(iter(given.values())).shape
    shown = range(count if channels == 1 else min(count, COLUMNS))
    places = [(window, channel) for channel in range(min(channels, CHANNELS)) for window in shown]
    columns = min(COLUMNS, count)
    rows, legend = -(-len(places) // columns), LEGEND if len(given) > 1 else 0
    width, height = columns * WIDTH, rows * HEIGHT + legend
    figure = Figure(figsize=(width, height), facecolor=colours.ground)
    series = itertools.chain([colours.ink], itertools.cycle(colours.series))
    paint = dict(zip((name for name in given if name != CORRUPTED), series, strict=False))
    for number, (window, channel) in enumerate(places):
        row, column = divmod(number, columns)
        left, bottom = column * WIDTH + MARGIN, height - (row + 1) * HEIGHT + MARGIN / 2
        size = (WIDTH - MARGIN - 0.1) / width, (HEIGHT - MARGIN / 2 - 0.2) / height
        axes = figure.add_axes((left / width, bottom / height, *size), facecolor=colours.ground)
        for name, x in given.items():
            style = {"color": colours.muted, "linewidth": 0.6, "linestyle": ":"}
            axes.plot(x[window, channel], label=name, **(style if name == CORRUPTED else _line(paint[name])))
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(colours.muted)
        axes.tick_params(colors=colours.muted, labelsize=SMALL - 2, length=2)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        if channels > 1 and window == 0:
            axes.set_title(f"channel {channel}", fontsize=SMALL - 1, color=colours.muted, loc="left", pad=1)
    if legend:
        lines_of_one = figure.axes[0].lines
        figure.legend(
            handles=lines_of_one, loc="lower center", ncols=len(given), frameon=False, fontsize=SMALL,
            labelcolor=colours.ink,
        )  # fmt: skip
    return figure


def _line(colour: str) -> dict[str, Any]:
    return {"color": colour, "linewidth": 1.1}
