"""Checks of data before training: one clear error message instead of a late traceback."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aepretrain.data.origin import Origin
from aepretrain.data.rows import Inputs, scan
from aepretrain.errors import DataError


def check_inputs(x: Inputs, in_shape: tuple[int, ...], origin: Origin) -> None:
    """Raise a DataError unless ``x`` has examples of shape ``in_shape``, float32 and finite.

    Args:
        x: Inputs, which should have the shape ``(N, *in_shape)``.
        in_shape: Shape of one example.
        origin: Where the rows come from, for the message.
    """
    where = origin.name
    if len(x) == 0:
        raise DataError(f"{where}: there are no examples. Check the path, the split and the budget.")
    if x.shape.numel() == 0:
        raise DataError(f"{where}: examples of shape {tuple(x.shape[1:])} hold no values. Check how they were read.")
    if tuple(x.shape[1:]) != tuple(in_shape):
        raise DataError(
            f"{where}: examples must have the shape {tuple(in_shape)}, but have {tuple(x.shape[1:])}. Reshape the data."
        )
    if isinstance(x, Tensor) and x.dtype != torch.float32:
        raise DataError(f"{where}: inputs must be float32, but are {x.dtype}. Convert them with x.float().")
    count, row, column = _broken(x)
    if count:
        raise DataError(
            f"{where}: inputs must be finite, but {count} of {len(x)} examples have NaN or infinity, the first in "
            f"{origin.row(row)}, {origin.column(column, in_shape)} (the first row is 0). Impute or drop them."
        )


def _broken(x: Inputs) -> tuple[int, int, int]:
    """Number of non-finite examples, and row and column of the first; for inputs in a file, its row in the file."""
    count, row, column = 0, -1, -1
    for numbers, part in scan(x):
        broken = ~part.flatten(1).isfinite().cpu()
        rows = broken.any(dim=1)
        if not count and rows.any():
            first = int(rows.nonzero()[0])
            row, column = int(numbers[first]), int(broken[first].nonzero()[0])
        count += int(rows.sum())
    return count, row, column


def check_trainable(y: Tensor | None, names: Sequence[str] | None, name: str) -> None:
    """Raise a DataError if the training examples are all of one class.

    Args:
        y: Their labels, shape ``(N,)``.
        names: Names of the classes; ``None``: their numbers.
        name: Name of the data set.
    """
    if y is not None and len(found := y.unique()) == 1:
        only = names[int(found)] if names else int(found)
        raise DataError(
            f"{name}, training split: examples must be of at least 2 classes, but all {len(y):,} are of class {only}. "
            "Divide the data otherwise, or give more of them."
        )


def check_targets(y: Tensor | None, count: int, where: str) -> None:
    """Raise a DataError unless ``y`` holds ``count`` finite real numbers.

    Args:
        y: Targets, which should have the shape ``(count,)`` or ``(count, T)`` and a floating type.
        count: Number of examples.
        where: Description of the targets, for the message.
    """
    if y is None or len(y) != count:
        raise DataError(f"{where}: {count} examples need as many targets, but there are {0 if y is None else len(y)}.")
    if not y.is_floating_point() or not bool(y.isfinite().all()):
        raise DataError(f"{where}: real targets must be finite float32, but are not. Mend them, or give classes.")


def check_labels(y: Tensor | None, count: int, num_classes: int, where: str) -> None:
    """Raise a DataError unless ``y`` holds ``count`` whole numbers in ``[0, num_classes)``.

    Args:
        y: Labels, which should have the shape ``(count,)`` and the type int64.
        count: Number of examples.
        num_classes: Number of classes.
        where: Description of the labels, for the message.
    """
    if y is not None and y.ndim != 1:
        raise DataError(f"{where}: labels must have the shape ({count},), but have {tuple(y.shape)}. Flatten them.")
    if y is None or len(y) != count:
        raise DataError(f"{where}: {count} examples need as many labels, but there are {0 if y is None else len(y)}.")
    if y.dtype.is_floating_point or y.dtype.is_complex or y.dtype == torch.bool:
        raise DataError(f"{where}: labels must be whole numbers, but are {y.dtype}. Number the classes from 0.")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"{where}: labels must lie in [0, {num_classes - 1}], but reach from {low} to {high}. "
            "Number the classes from 0, without gaps."
        )
