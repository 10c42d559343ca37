"""The codes of the N-M-N encoder task: a table and a picture."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from aepretrain.report.inline import inline_png
from aepretrain.report.mosaic import mosaic
from aepretrain.report.page import figure, row, table
from aepretrain.results.run import PatternCode

SQUARE = 24
"""Width in pixels of the square of a value."""


def pattern_codes(patterns: Sequence[PatternCode]) -> Markup:
    """A table and a picture of the code of every pattern, side by side.

    Args:
        patterns: The patterns, in order.

    Example:
        >>> codes = [PatternCode(0, [0.0, 1.0], 0, solved=True), PatternCode(1, [1.0, 0.2], 1, solved=True)]
        >>> pattern_codes(codes).count("<tr>")
        3
    """
    units = [f"unit {number}" for number in range(len(patterns[0].code))]
    cells = [
        [str(each.pattern), *(f"{value:.2f}" for value in each.code), str(each.answer) + ("" if each.solved else " ✗")]
        for each in patterns
    ]
    codes = np.array([each.code for each in patterns])
    low, high = codes.min(), codes.max()
    image = mosaic((codes[None] - low) / max(high - low, 1e-12), 1)
    words = f"A row for each pattern, a column for each unit: black is {low:.2f}, white {high:.2f}. "
    distinct = len(np.unique(codes > (low + high) / 2, axis=0))
    words += f"Rounded to black and white, {distinct} of {len(codes)} codes differ."
    alt = f"Codes of {len(patterns)} patterns as squares between black and white"
    picture = figure(inline_png(image, alt, width=SQUARE * len(units), coarse=True), "Codes.", words)
    return row([table(["pattern", *units, "comes back as"], cells), picture])
