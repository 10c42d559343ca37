"""The colours of the report, a light and a dark scheme, both suited to colour-blind readers.

A chart drawn with :data:`PLACEHOLDERS` gets its colours from the page: each placeholder is replaced with a CSS
variable, so that the same chart follows the reader's theme.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from aepretrain.evaluation.baselines import BASELINES


@dataclass(frozen=True)
class Colours:
    """A colour scheme; colours as ``#rrggbb``.

    Args:
        ground: Page background.
        panel: Background of panels.
        ink: Text.
        muted: Axes and remarks.
        grid: Grid lines.
        series: Curves, arms and classes; the first seven follow Okabe and Ito, without black.

    Reference:
        Okabe, Ito: Color Universal Design (2008).
    """

    ground: str
    panel: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]

    def named(self) -> dict[str, str]:
        """Colours by the name of their CSS variable."""
        plain = {name: getattr(self, name) for name in ("ground", "panel", "ink", "muted", "grid")}
        return {**plain, **{f"series-{k}": colour for k, colour in enumerate(self.series)}}


LIGHT = Colours(
    "#ffffff", "#f5f6f8", "#1b2230", "#5c6675", "#e2e5ea",
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#a89a00", "#6b7280", "#882255", "#44aa99"),
)  # fmt: skip
DARK = Colours(
    "#13161b", "#1c2027", "#e7e9ec", "#9ba4b1", "#2d333d",
    ("#4ba3db", "#f07f3c", "#2fc597", "#e3a0c5", "#f2b63c", "#8ad0f7", "#f0e442", "#a3abb8", "#d06a9c", "#7fd6c8"),
)  # fmt: skip
PLACEHOLDERS = Colours(
    "#0f0f01", "#0f0f02", "#0f0f03", "#0f0f04", "#0f0f05", tuple(f"#0f0f{k:02x}" for k in range(16, 26))
)

ARMS = {"pretrained": 0, "random": 1, "probe": 2}
"""Indices into ``series`` of the three arms with fixed colours."""


def css_variables(colours: Colours) -> str:
    """Format colours as declarations of CSS variables.

    Example:
        >>> css_variables(LIGHT).split("; ")[2]
        '--ink: #1b2230'
    """
    return "; ".join(f"--{name}: {colour}" for name, colour in colours.named().items())


def use_variables(svg: str) -> str:
    """Replace the placeholder colours of an SVG chart with CSS variables.

    Example:
        >>> use_variables('<path style="fill: #0f0f03"/>')
        '<path style="fill: var(--ink)"/>'
    """
    for name, colour in PLACEHOLDERS.named().items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def arm_colours(arms: Iterable[str], colours: Colours) -> dict[str, str]:
    """Assign a colour to each arm: fixed for :data:`ARMS`, by position for others, muted for baselines.

    Args:
        arms: Arms and baselines in the order of the summary.
        colours: Colour scheme to choose from.

    Example:
        >>> arm_colours(["random", "knn", "longer"], LIGHT)
        {'random': '#d55e00', 'knn': '#5c6675', 'longer': '#cc79a7'}
    """
    found: dict[str, str] = {}
    free = [k for k in range(len(colours.series)) if k not in ARMS.values()]
    for arm in arms:
        if arm in BASELINES:
            found[arm] = colours.muted
        elif arm in ARMS:
            found[arm] = colours.series[ARMS[arm]]
        else:
            others = sum(name not in ARMS and name not in BASELINES for name in found)
            found[arm] = colours.series[free[others % len(free)]]
    return found
