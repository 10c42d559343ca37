"""Checks of data before training: one clear error message instead of a late traceback."""

import torch
from torch import Tensor

from aepretrain.data.rows import Inputs, scan
from aepretrain.errors import DataError


def check_inputs(x: Inputs, in_shape: tuple[int, ...], where: str) -> None:
    """Raise a DataError unless ``x`` has examples of shape ``in_shape``, float32 and finite.

    Args:
        x: Inputs, which should have the shape ``(N, *in_shape)``.
        in_shape: Shape of one example.
        where: Description of the inputs, for the message.
    """
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
    count, first = _broken(x)
    if count:
        raise DataError(
            f"{where}: inputs must be finite, but {count} of {len(x)} examples have NaN or infinity, the "
            f"first is number {first}. Impute or drop them."
        )


def _broken(x: Inputs) -> tuple[int, int]:
    """Number of non-finite examples, and the index of the first; for inputs in a file, its index in the file."""
    count, first = 0, -1
    for numbers, part in scan(x):
        broken = (~part.isfinite()).flatten(1).any(dim=1).cpu()
        if not count and broken.any():
            first = int(numbers[broken.nonzero()[0]])
        count += int(broken.sum())
    return count, first


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
    if y.dtype.is_floating_point or y.dtype == torch.bool:
        raise DataError(f"{where}: labels must be whole numbers, but are {y.dtype}. Convert them with y.long().")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"{where}: labels must lie in [0, {num_classes - 1}], but reach from {low} to {high}. "
            "Number the classes from 0, without gaps."
        )


def check_classes(y: Tensor | None, count: int, num_classes: int | None, where: str) -> int | None:
    """The number of classes, given or inferred from the labels; a DataError if the labels do not fit.

    Example:
        >>> check_classes(torch.tensor([0, 2, 1]), 3, None, "labels")
        3
    """
    if y is None:
        return None
    found = num_classes or (int(y.max()) + 1 if y.numel() else 0)
    check_labels(y, count, found, where)
    if found < 2:
        raise DataError(f"{where}: labels must name at least 2 classes, but all are 0. Leave them out.")
    return found
