"""Confusion matrices as HTML tables with shaded cells."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from aepretrain.report.markup import fill, join
from aepretrain.results.figures import class_mark, class_name


def confusion_table(matrix: NDArray[np.integer], colour: str, names: Sequence[str] | None = None) -> Markup:
    """HTML table with true classes as rows, shaded by the share of the row; errors are shaded more strongly.

    Args:
        matrix: Counts, shape ``(C, C)``.
        colour: Name of a CSS variable, without ``--``.
        names: Names of the classes; ``None``: their numbers.

    Example:
        >>> confusion_table(np.array([[3, 1], [0, 4]]), "ink").count("<td")
        4
    """
    head = join((fill('<th scope="col">{}</th>', class_mark(k, names)) for k in range(len(matrix))), "")
    lines = [fill('<tr><th aria-label="true class by answer"></th>{}</tr>', head)]
    for true, counts in enumerate(matrix.tolist()):
        shares = [100 * count / max(sum(counts), 1) for count in counts]
        cells = (
            _cell(count, share if answer == true else min(3 * share, 100), answer == true)
            for answer, (count, share) in enumerate(zip(counts, shares, strict=True))
        )
        lines.append(fill('<tr><th scope="row">{}</th>{}</tr>', class_name(true, names), join(cells, "")))
    return fill('<table class="matrix" style="--heat: var(--{})">\n{}\n</table>', colour, join(lines))


def _cell(count: int, shade: float, right: bool) -> Markup:
    # The diagonal dominates: it is shaded lightly, so that errors stand out.
    share = 0.35 * shade if right else 0.8 * shade
    return fill('<td class="{}" style="--share: {}">{}</td>', "" if count else "none", f"{share:.0f}", str(count))


def most_confused(
    matrix: Sequence[Sequence[int]] | NDArray[np.integer], names: Sequence[str] | None = None, most: int = 3
) -> str:
    """A sentence on the most frequent errors.

    Args:
        matrix: Counts, shape ``(C, C)``.
        names: Names of the classes; ``None``: their numbers.
        most: Pairs of classes that are named.

    Example:
        >>> most_confused([[3, 1], [2, 4]])
        'Most often 1 is taken for 0 (2 times) and 0 for 1 (1 time).'
        >>> most_confused([[3, 0], [0, 4]])
        'There is no error.'
        >>> most_confused([[3, 1], [0, 4]], ["owl", "cat"])
        'Most often owl is taken for cat (1 time).'
    """
    counts = np.array(matrix)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    pairs = [(i, j) for i, j in zip(*np.unravel_index(order, counts.shape), strict=True) if counts[i, j]]
    if not pairs:
        return "There is no error."
    said = [names[k] if names else str(k) for k in range(len(counts))]
    words = [
        f"{said[i]} {'for' if number else 'is taken for'} {said[j]} "
        f"({counts[i, j]} time{'s' if counts[i, j] > 1 else ''})"
        for number, (i, j) in enumerate(pairs)
    ]
    return f"Most often {', '.join(words[:-1])}{' and ' if len(words) > 1 else ''}{words[-1]}."
