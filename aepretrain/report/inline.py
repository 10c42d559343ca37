"""Charts and images inside an HTML file: inline SVG that follows the theme, and embedded PNG."""

import base64
import io
import re
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from aepretrain.report.colours import use_variables
from aepretrain.report.markup import fill, identifier, without_controls

WITHOUT_DATE: dict[str, Any] = {"Date": None, "Creator": None}
WITHOUT_PROGRAM: dict[str, Any] = {"Software": None}
POINTS_TO_PIXELS = 96 / 72


def inline_svg(figure: Figure, name: str, alt: str) -> Markup:
    """Convert a chart to an SVG element without external references, with text in the font of the page.

    Args:
        figure: Chart drawn with :data:`~aepretrain.report.colours.PLACEHOLDERS`.
        name: Prefix of the ids, unique on the page: clip paths of two charts must not share an id. Characters that an
            id may not have are replaced.
        alt: Alternative text.
    """
    name = identifier(name)
    text = svg_text(figure, name, fonttype="none")
    width, height = (float(x) for x in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())  # type: ignore[union-attr]
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL).replace("xlink:href", "href")
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    body = re.sub(r"font: (\d{3} )?([\d.]+)px [^;\"]*", _without_family, body)
    return fill(
        '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}" style="max-width: {}px">{}',
        alt,
        f"{width:g}",
        f"{height:g}",
        f"{width * POINTS_TO_PIXELS:.0f}",
        # Matplotlib escapes the texts of a chart, but leaves control characters in them.
        Markup(without_controls(use_variables(body).strip())),  # noqa: S704
    )


def svg_text(figure: Figure, name: str, *, fonttype: str = "path") -> str:
    """Render a chart as the text of an SVG file, reproducibly.

    Args:
        figure: The chart.
        name: Salt from which the ids are derived.
        fonttype: ``path`` converts text to outlines, which look the same everywhere; ``none`` keeps it as text.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": fonttype, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=fonttype == "none", metadata=WITHOUT_DATE)
    return buffer.getvalue()


def _without_family(font: re.Match[str]) -> str:
    weight = f"font-weight: {font[1].strip()}; " if font[1] else ""
    return f"{weight}font-size: {font[2]}px"


def inline_png(image: NDArray[np.floating], alt: str, *, width: int, coarse: bool = False) -> Markup:
    """Encode an image as an HTML element with embedded PNG data.

    Args:
        image: Shape ``(height, width, 4)``: red, green, blue and opacity in ``[0, 1]``.
        alt: Alternative text.
        width: Maximum width in CSS pixels.
        coarse: Whether to enlarge without smoothing.

    Example:
        >>> inline_png(np.zeros((2, 2, 4)), "nothing", width=20)[:47]
        Markup('<img class="" alt="nothing" style="max-width: 2')
    """
    buffer = io.BytesIO()
    imsave(buffer, image, format="png", metadata=WITHOUT_PROGRAM)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return fill(
        '<img class="{}" alt="{}" style="max-width: {}px" width="{}" height="{}" src="data:image/png;base64,{}">',
        "coarse" if coarse else "",
        alt,
        str(width),
        str(image.shape[1]),
        str(image.shape[0]),
        data,
    )
