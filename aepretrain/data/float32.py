"""Numbers of any type as float32, which is refused where it would drop something that matters."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.origin import Origin
from aepretrain.errors import DataError

SAMPLED = 1000
"""Rows, spread over the data, whose values must stay distinct in float32."""
KEPT = 0.75
"""Share of the distinct values in a column that must be distinct in float32."""
AT_ONCE = 1 << 20
"""Values converted or compared at once."""
EXACT = 2**24
"""Whole numbers up to this one are exact in float32."""
SUBTRACT = "Subtract the least value, or standardize the column, before it is given here."
"""The way out for columns of numbers."""


def to_float32(values: NDArray[Any], origin: Origin, first: int = 0) -> NDArray[np.float32]:
    """Real numbers of any type as float32; the same array if it is float32 already.

    Args:
        values: Shape ``(N, ...)``.
        origin: Where the rows come from, for messages.
        first: Number of the first row.

    Raises:
        DataError: If the values are no real numbers, or a finite one is infinite in float32.

    Example:
        >>> to_float32(np.array([[1, 2]]), Origin("x"))
        array([[1., 2.]], dtype=float32)
    """
    check_real(values.dtype, origin)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32, copy=False)
    if values.dtype.kind == "f" and values.dtype.itemsize > 4:
        step = max(1, AT_ONCE // max(1, values[:1].size))
        for begin in range(0, len(values), step):
            wide = values[begin : begin + step]
            over = np.isinf(narrow[begin : begin + step]) & np.isfinite(wide)
            if over.any():
                place = tuple(np.argwhere(over)[0].tolist())
                column = int(np.ravel_multi_index(place[1:], wide.shape[1:])) if wide.ndim > 1 else 0
                words = origin.column(column, wide.shape[1:])
                raise DataError(
                    f"{origin.name}: inputs must fit float32, whose largest number is 3.4e38, but "
                    f"{words} is {wide[place]:.3g} in {origin.row(first + begin + place[0])} "
                    "(the first row is 0). Divide the column by a number, or take logarithms."
                )
    return narrow


def check_real(dtype: np.dtype, origin: Origin) -> None:
    """Raise a DataError unless values of this type are real numbers or booleans."""
    if dtype.kind == "c":
        raise DataError(
            f"{origin.name}: inputs must be real numbers, but are {dtype}. Give real and imaginary parts as columns: "
            "np.concatenate([x.real, x.imag], axis=1)."
        )
    if dtype.kind not in "biuf":
        kind = {"U": "text", "S": "bytes of text", "M": "dates", "m": "times", "O": "Python objects", "V": "records"}
        raise DataError(
            f"{origin.name}: inputs must be numbers, but are {kind.get(dtype.kind, 'text')} ({dtype}). Encode them as "
            "numbers, for example categories as one-hot columns and dates as days since the first."
        )


def numpy_type(x: Tensor, origin: Origin) -> np.dtype:
    """NumPy's type of a tensor.

    Raises:
        DataError: If it has none, as for quantized values.

    Example:
        >>> numpy_type(Tensor([1.0]), Origin("x"))
        dtype('float32')
    """
    try:
        # Not by its name, by which NumPy knows float8 as soon as some package has imported ml_dtypes.
        return torch.empty(0, dtype=x.dtype).numpy().dtype
    except TypeError as error:
        way = "x.dequantize()" if x.is_quantized else "x.float()"
        raise DataError(f"{origin.name}: inputs must be plain numbers, but are {x.dtype}. Give {way}.") from error


def sampled_rows(count: int) -> NDArray[np.int64]:
    """Numbers of at most ``SAMPLED`` rows, spread evenly over ``count``.

    Example:
        >>> sampled_rows(3).tolist()
        [0, 1, 2]
    """
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).astype(np.int64))


def sampled_within(sampled: NDArray[np.int64], first: int, rows: int) -> NDArray[np.int64]:
    """Places of the sampled rows within a piece of ``rows`` rows that begins with row ``first``.

    Example:
        >>> sampled_within(np.array([0, 4, 5, 9]), first=4, rows=4).tolist()
        [0, 1]
    """
    return sampled[np.searchsorted(sampled, first) : np.searchsorted(sampled, first + rows)] - first


def check_digits(sample: NDArray[Any], origin: Origin, way_out: str = SUBTRACT) -> None:
    """Raise a DataError if values that differ become the same float32, as those of a clock do.

    Args:
        sample: Some rows in their own type, shape ``(n, ...)``, finite.
        origin: Where the rows come from, for messages.
        way_out: What to do, the end of the message.

    Example:
        >>> clock = 1_700_000_000 + np.arange(5)[:, None]
        >>> check_digits(clock - clock.min(), Origin("x"))
        >>> check_digits(clock, Origin("x"))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        DataError: x: column 0 has values too close for float32
    """
    if not len(sample) or not _may_collapse(sample):
        return
    flat = sample.reshape(len(sample), -1)
    step = max(1, AT_ONCE // len(flat))
    for begin in range(0, flat.shape[1], step):
        part = np.sort(flat[:, begin : begin + step], axis=0)
        with np.errstate(over="ignore"):
            before, after = _distinct(part), _distinct(part.astype(np.float32))
        lost = after < KEPT * before
        if lost.any():
            column = int(lost.argmax())
            words = origin.column(begin + column, sample.shape[1:])
            raise DataError(
                f"{origin.name}: {words} has values too close for float32, "
                f"which keeps 7 digits: of {before[column]} different values, such as {part[0, column]!s} and "
                f"{part[-1, column]!s}, only {after[column]} {'is' if after[column] == 1 else 'are'} left. "
                f"{way_out}"
            )


def _may_collapse(sample: NDArray[Any]) -> bool:
    """Whether values of this type may be closer together than float32 can tell."""
    kind, size = sample.dtype.kind, sample.dtype.itemsize
    if kind in "iu":
        return size > 2 and bool(sample.size) and bool(sample.max() > EXACT or sample.min() < -EXACT)
    return kind == "f" and size > 4


def _distinct(sorted_rows: NDArray[Any]) -> NDArray[np.int64]:
    """Number of distinct values in every column, whose values are sorted."""
    return (sorted_rows[1:] != sorted_rows[:-1]).sum(axis=0) + 1
