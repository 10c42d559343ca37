"""The same examples in several versions, such as original and reconstructed: rows of pictures, or lines of windows."""

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from aepretrain.report.colours import PLACEHOLDERS
from aepretrain.report.inline import inline_png, inline_svg
from aepretrain.report.markup import fill, join
from aepretrain.report.mosaic import COARSE, mosaic
from aepretrain.report.page import figure
from aepretrain.report.windows import draw_windows


def example_rows(rows: Mapping[str, NDArray[np.floating]], name: str, title: str, caption: str) -> Markup:
    """Figure of examples: a row of pictures per version, or of windows a line per version in common axes.

    Args:
        rows: Examples by version: pictures ``(N, channels, height, width)``, or windows ``(N, length)`` or
            ``(N, channels, length)``.
        name: What is drawn, unique on the page, such as ``validation images``.
        title: Title of the figure.
        caption: What follows it.
    """
    first = next(iter(rows.values()))
    if first.ndim == 4:
        body = fill('<div class="pictures">\n{}\n</div>', join(_row(version, x, name) for version, x in rows.items()))
    else:
        words = f"{len(first)} {name}: {', '.join(rows)}"
        body = inline_svg(draw_windows(rows, PLACEHOLDERS), name, words)
    return figure(body, title, caption)


def _row(version: str, pictures: NDArray[np.floating], name: str) -> Markup:
    words, coarse = f"{len(pictures)} {name}, {version}", pictures.shape[-1] < COARSE
    image = inline_png(mosaic(pictures, len(pictures)), words, width=760, coarse=coarse)
    return fill("<span>{}</span>", version) + image
