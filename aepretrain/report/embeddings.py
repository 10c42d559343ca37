"""Two-dimensional embeddings of inputs and codes: PCA, whether there is anything to embed, and scatter plots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from aepretrain.report.colours import LIGHT
from aepretrain.report.markup import fill, join
from aepretrain.report.tsne import Points

MIN_POINTS = 10
"""Smallest number of examples for t-SNE."""
ROUNDING = 8
"""Differences of up to so many units in the last place are rounding errors."""
SIDE = 200
MARGIN = 12


def principal_components(x: NDArray[np.floating]) -> Points:
    """Project the data onto their first two principal components.

    Args:
        x: Shape ``(N, D)``, with D at least 2 and N at least 2.

    Reference:
        Pearson: On Lines and Planes of Closest Fit to Systems of Points in Space (1901).

    Example:
        >>> principal_components(np.eye(4)).shape
        (4, 2)
    """
    return PCA(2, svd_solver="full").fit_transform(x)


def reason_not_embedded(x: NDArray[np.floating], name: str) -> str | None:
    """The reason why data have no picture in two dimensions; ``None`` if they have one.

    Args:
        x: Shape ``(N, D)``.
        name: What the data are, such as ``codes``.

    Example:
        >>> reason_not_embedded(np.full((20, 3), 0.7, dtype=np.float32), "codes")
        'the codes are all alike'
        >>> reason_not_embedded(np.eye(20), "codes")
    """
    if x.dtype.kind != "f":
        return f"the {name} are no floating-point numbers"
    if x.ndim != 2 or min(x.shape) < 2:
        return f"the {name} have fewer than two dimensions or examples"
    if not np.isfinite(x).all():
        return f"the {name} are not all finite"
    return f"the {name} are all alike" if are_alike(x) else None


def are_alike(x: NDArray[np.floating]) -> bool:
    """Whether all rows are the same up to rounding, relative to the size of each feature and of the median feature.

    The neighbours of such rows are rounding errors, which t-SNE cannot order.

    Example:
        >>> are_alike(np.array([[1.0, 5.0], [1.0 + 1e-15, 5.0]])), are_alike(np.array([[1.0, 5.0], [1.1, 5.0]]))
        (True, False)
    """
    sizes = np.abs(x).max(axis=0)
    spread = x.max(axis=0) - x.min(axis=0)
    return bool((spread <= ROUNDING * np.finfo(x.dtype).eps * np.maximum(sizes, np.median(sizes))).all())


def neighbours_agree(x: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Fraction of examples whose nearest other example has the same label.

    Args:
        x: Shape ``(N, D)``.
        labels: Shape ``(N,)``.

    Example:
        >>> neighbours_agree(np.array([[0.0], [0.1], [5.0], [5.1]]), np.array([0, 0, 1, 0]))
        0.5
    """
    nearest = NearestNeighbors(n_neighbors=1).fit(x).kneighbors(return_distance=False)[:, 0]
    return float((labels[nearest] == labels).mean())


def scatter(points: Points, labels: NDArray[Any] | None, alt: str) -> Markup:
    """Draw points as an SVG element, coloured by label; each label is written once, at the median of its points.

    Each class is one path of small circles, whose colour follows the theme.

    Args:
        points: Shape ``(N, 2)``.
        labels: Numbers or names of classes, shape ``(N,)``, or None if there are none.
        alt: Alternative text.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (SIDE - 2 * MARGIN) / max(float((high - low).max()), 1e-12)
    places = SIDE / 2 + (points - (low + high) / 2) * scale * np.array([1, -1])
    classes: Sequence[object] = [0] if labels is None else sorted(set(labels.tolist()))
    groups = [places if labels is None else places[labels == label] for label in classes]
    dots = (
        fill('<path d="{}" fill="var(--series-{})"/>', _dots(group), str(k % len(LIGHT.series)))
        for k, group in enumerate(groups)
    )
    names = (
        fill('<text x="{}" y="{}">{}</text>', *(f"{place:.0f}" for place in np.median(group, axis=0)), str(label))
        for label, group in zip(classes, groups, strict=True)
        if labels is not None
    )
    return fill(
        '<svg class="chart" role="img" aria-label="{alt}" viewBox="0 0 {side} {side}">'
        '<rect width="{side}" height="{side}" rx="5" fill="var(--panel)"/>'
        '<g fill-opacity=".85">{dots}</g>'
        '<g font-size="13" font-weight="700" text-anchor="middle" dominant-baseline="central" fill="var(--ink)" '
        'stroke="var(--panel)" stroke-width="4" paint-order="stroke" stroke-linejoin="round">{names}</g></svg>',
        alt=alt,
        side=str(SIDE),
        dots=join(dots, ""),
        names=join(names, ""),
    )


def _dots(places: Points) -> str:
    return "".join(f"M{x - 2:.1f} {y:.1f}a2 2 0 1 0 4 0a2 2 0 1 0-4 0" for x, y in places)
