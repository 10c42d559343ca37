"""Many small pictures as one image."""

import numpy as np
from numpy.typing import NDArray

COARSE = 20
"""Width in pixels below which pictures are enlarged without smoothing."""


def mosaic(pictures: NDArray[np.floating], columns: int) -> NDArray[np.floating]:
    """Arrange pictures in rows, with transparent gaps between them.

    Args:
        pictures: Shape ``(N, height, width)`` or ``(N, channels, height, width)`` with 1 or 3 channels, in ``[0, 1]``.
        columns: Pictures per row.

    Returns:
        Shape ``(..., ..., 4)``: red, green, blue and opacity.

    Example:
        >>> mosaic(np.zeros((5, 8, 8)), columns=3).shape
        (17, 26, 4)
    """
    height, width = pictures.shape[-2:]
    gap = 1 if width < COARSE else 2
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    canvas = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4))
    for place, picture in enumerate(pictures):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        image = np.clip(as_image(picture), 0, 1)
        canvas[top : top + height, left : left + width, :3] = image if image.ndim == 3 else image[..., None]
        canvas[top : top + height, left : left + width, 3] = 1
    return canvas


def as_pictures(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scale the weights into each unit by the largest absolute one, so that 0 is grey.

    Args:
        weights: Shape ``(H, height, width)`` or ``(H, channels, height, width)``.

    Returns:
        The same shape, values in ``[0, 1]``.

    Example:
        >>> as_pictures(np.array([[[4.0, -2.0]], [[0.0, 0.0]]])).tolist()
        [[[1.0, 0.25]], [[0.5, 0.5]]]
    """
    spans = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    return 0.5 + 0.5 * weights / np.where(spans == 0, 1, spans)


def as_image(array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Convert ``(channels, height, width)`` for matplotlib: a single channel is dropped, three are moved last."""
    return array if array.ndim == 2 else array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
