"""Figures of filters, reconstructions and learning curves.

Places are computed here, not by a layout engine of matplotlib: a figure is drawn once, in about two thirds of the time.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aepretrain.report.mosaic import as_pictures, mosaic
from aepretrain.storage.files import write_atomically

TITLE = 0.4
"""Height of a title, in inches."""
LETTER = 0.075
"""Largest mean width of a letter of a label, in inches."""
CURVE_NAMES = {"train/loss": "training loss", "val/loss": "validation loss", "val/reconstruction": "reconstruction"}


def draw_filters(weights: NDArray[np.floating], *, columns: int = 12, most: int = 96) -> Figure:
    """Draw the weights into each unit as a picture, scaled by its largest absolute weight.

    Args:
        weights: Shape ``(H, height, width)`` or ``(H, channels, height, width)``, with 1 or 3 channels.
        columns: Pictures per row.
        most: Maximum number of pictures; the first units are shown.

    Example:
        >>> draw_filters(np.random.rand(5, 8, 8)).get_suptitle()
        'weights into 5 of 5 units'
    """
    shown = weights[:most]
    image = mosaic(as_pictures(shown), columns)
    width, height = _size(image, columns * 0.7)
    figure = Figure(figsize=(width, height + TITLE))
    _show(figure.add_axes((0, 0, 1, height / (height + TITLE))), image)
    figure.suptitle(f"weights into {len(shown)} of {len(weights)} units", fontsize=9)
    return figure


def draw_image_rows(rows: Mapping[str, NDArray[np.floating]], *, low: float = 0.0, high: float = 1.0) -> Figure:
    """Draw named rows of pictures, such as original, corrupted and reconstructed.

    Args:
        rows: Pictures by name, shape ``(N, height, width)`` or ``(N, channels, height, width)``.
        low: Value shown as black.
        high: Value shown as white.

    Example:
        >>> len(draw_image_rows({"original": np.zeros((4, 8, 8)), "reconstructed": np.ones((4, 8, 8))}).axes)
        2
    """
    images = {name: mosaic((pictures - low) / (high - low), len(pictures)) for name, pictures in rows.items()}
    widest = max(images.values(), key=lambda image: image.shape[1])
    width, height = _size(widest, max(map(len, rows.values())) * 0.75)
    label, gap = 0.15 + LETTER * max(map(len, rows)), 0.05
    figure = Figure(figsize=(label + width, len(rows) * (height + gap)))
    left, step = label / (label + width), 1 / len(rows)
    for row, (name, image) in enumerate(images.items(), 1):
        axes = figure.add_axes((left, 1 - row * step, 1 - left, step * height / (height + gap)))
        _show(axes, image)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def draw_grid(pictures: NDArray[np.floating], *, columns: int, low: float = 0.0, high: float = 1.0) -> Figure:
    """Draw pictures in rows, without labels.

    Args:
        pictures: Shape ``(N, height, width)`` or ``(N, channels, height, width)``, with 1 or 3 channels.
        columns: Pictures per row.
        low: Value shown as black.
        high: Value shown as white.

    Example:
        >>> len(draw_grid(np.zeros((6, 8, 8)), columns=3).axes)
        1
    """
    image = mosaic((pictures - low) / (high - low), columns)
    figure = Figure(figsize=_size(image, 0.5 * min(columns, len(pictures))))
    _show(figure.add_axes((0, 0, 1, 1)), image)
    return figure


def draw_curves(epochs: Sequence[Mapping[str, float]], *, kept_epoch: int | None = None) -> Figure:
    """Plot the losses of a stage over its epochs, in nats per example.

    Args:
        epochs: Metrics of each epoch, by logged name.
        kept_epoch: Epoch, counted from 0, whose weights were kept; it is marked.

    Example:
        >>> draw_curves([{"train/loss": 2.0}, {"train/loss": 1.0}]).axes[0].get_xlabel()
        'epoch, counted from 0'
    """
    figure = Figure(figsize=(5, 3))
    axes = figure.add_axes((0.17, 0.17, 0.8, 0.76))
    for name, label in CURVE_NAMES.items():
        points = [(number, epoch[name]) for number, epoch in enumerate(epochs) if name in epoch]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o" if len(points) == 1 else None)
    if kept_epoch is not None:
        axes.axvline(kept_epoch, color="grey", linewidth=0.8, linestyle="--", label="kept")
    axes.set_xlabel("epoch, counted from 0")
    axes.set_ylabel("nats per example")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_picture(path: Path, figure: Figure, *, dpi: int = 110, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a figure as a PNG file, atomically.

    Raises:
        StorageError: If the file cannot be written; the previous one is kept.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata=metadata)
    write_atomically(path, buffer.getvalue())


def _size(image: NDArray[np.floating], width: float) -> tuple[float, float]:
    """Width and height in inches of a figure that shows an image so wide."""
    return width, width * image.shape[0] / image.shape[1]


def _show(axes: Axes, image: NDArray[np.floating]) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
