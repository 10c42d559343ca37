"""Axes in the style of the report, and line labels that do not overlap."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aepretrain.report.colours import Colours

LABEL = 10
SMALL = 9


def new_chart(width: float, height: float, colours: Colours) -> tuple[Figure, Axes]:
    """Create a figure with one set of axes in the style of the report.

    Args:
        width: Width in inches.
        height: Height in inches.
        colours: Colours of axes, text and grid.

    Example:
        >>> from aepretrain.report.colours import LIGHT
        >>> new_chart(4, 3, LIGHT)[1].get_facecolor()
        (1.0, 1.0, 1.0, 1.0)
    """
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=colours.ground)
    axes = figure.add_subplot(facecolor=colours.ground)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(colours.muted)
    axes.tick_params(colors=colours.muted, labelsize=SMALL, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(colours.ink)
        label.set_fontsize(LABEL)
    axes.grid(axis="y", color=colours.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def count_epochs(axes: Axes, name: str) -> None:
    """Label the x axis, whose epochs count from 0, and put its ticks at whole epochs, even if there is only one."""
    axes.set_xlabel(f"{name}, counted from 0")
    if axes.dataLim.width == 0:
        axes.set_xlim(axes.dataLim.x0 - 1, axes.dataLim.x0 + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def spread_apart(values: Sequence[float], gap: float) -> list[float]:
    """Move values as little as needed so that no two are closer than ``gap``, keeping their order.

    Example:
        >>> spread_apart([1.0, 1.1, 3.0], gap=0.5)
        [0.8, 1.3, 3.0]
    """
    clusters: list[list[int]] = []
    centre = lambda members: sum(values[i] for i in members) / len(members)  # noqa: E731
    for i in sorted(range(len(values)), key=lambda i: values[i]):
        clusters.append([i])
        while len(clusters) > 1:
            low, high = clusters[-2:]
            needed = gap * (len(low) + len(high)) / 2
            if centre(high) - centre(low) >= needed - 1e-12:
                break
            clusters[-2:] = [low + high]
    places = [0.0] * len(values)
    for members in clusters:
        for rank, i in enumerate(members):
            places[i] = round(centre(members) + gap * (rank - (len(members) - 1) / 2), 6)
    return places


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], colours: Colours) -> None:
    """Label lines at their right ends, with a leader in the line's colour.

    Args:
        axes: Axes whose limits are final.
        ends: Last x, last y, name and colour of each line.
        colours: Colours of the labels.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    inches = axes.figure.get_size_inches()[1] * 0.8  # type: ignore[union-attr]
    gap = (high - low) * (SMALL + 4) / 72 / inches
    places = spread_apart([y for _, y, _, _ in ends], gap)
    leader = {"arrowstyle": "-", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)}
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            name, (x, y), xytext=(22, place), textcoords=("offset points", "data"),
            fontsize=SMALL, color=colours.ink, va="center", annotation_clip=False,
            arrowprops={**leader, "color": colour},
        )  # fmt: skip
