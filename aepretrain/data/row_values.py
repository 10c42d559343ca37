"""One value per row, such as a label, a group or a time."""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from torch import Tensor, float16, float32, float64, strided

from aepretrain.data.origin import Origin
from aepretrain.errors import DataError


def to_column(values: Any, count: int, noun: str, origin: Origin) -> NDArray[Any]:
    """One value per row as an array, none of them missing.

    Args:
        values: Shape ``(N,)``: an array, a tensor, a list or a pandas series.
        count: Number of rows N.
        noun: What the values are, in the plural.
        origin: Where they come from, for messages.

    Returns:
        The values in their own type, shape ``(N,)``; text and NaN or numbers in one list stay Python's objects.

    Raises:
        DataError: If they are sparse, of another shape, not ``count``, or missing.

    Example:
        >>> to_column([3, 1, 2], 3, "groups", Origin("patients.npy"))
        array([3, 1, 2])
    """
    column, missing = partial_column(values, count, noun, origin)
    refuse_rows(missing, origin, noun + " must not be missing, but {} are")
    return column


def partial_column(values: Any, count: int, noun: str, origin: Origin) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One value per row as an array, and which of them are missing: see :func:`to_column`.

    Example:
        >>> partial_column(["a", None], 2, "labels", Origin("y"))[1].tolist()
        [False, True]
    """
    column, hidden = _array(values, noun, origin)
    _check_shape(column, count, noun, origin)
    missing = _missing(column)
    return column, missing if hidden is None else missing | hidden


def _array(values: Any, noun: str, origin: Origin) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The values as a NumPy array, and the mask of those that are missing if they have one."""
    if scipy.sparse.issparse(values) or (isinstance(values, Tensor) and values.layout != strided):
        raise DataError(f"{origin.name}: {noun} must be dense, but are sparse. Give an array of shape (N,).")
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        is_known = values.dtype in (float16, float32, float64) or not values.is_floating_point()
        return (values if is_known else values.float()).resolve_conj().numpy(), None
    if isinstance(values, np.ma.MaskedArray):
        return np.asarray(values.data), np.ma.getmaskarray(values)
    try:
        array = np.asarray(values)
        if array.dtype.kind in "US" and not isinstance(values, np.ndarray):
            array = np.asarray(values, dtype=object)  # a list of text and NaN or numbers would become text
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{origin.name}: {noun} must be one value per example: {reason}. Give shape (N,).") from error
    return array, None


def _check_shape(column: NDArray[Any], count: int, noun: str, origin: Origin) -> None:
    argument, one = ("y" if noun == "labels" else noun), noun.removesuffix("s")
    if column.ndim != 1:
        way = f"Flatten them: {argument}.ravel()." if column.size == count else f"Give one {one} per example."
        if column.ndim == 2 and column.shape[1] > 1 and _is_one_hot(column):
            way = f"They are one-hot: give {argument}.argmax(axis=1)."
        raise DataError(f"{origin.name}: {noun} must have the shape ({count},), but have {column.shape}. {way}")
    if len(column) != count:
        raise DataError(
            f"{origin.name}: {count} examples need as many {noun}, but there are {len(column)}. Give one {one} per row."
        )


def _is_one_hot(column: NDArray[Any]) -> bool:
    if column.dtype.kind not in "biuf":
        return False
    return bool(((column == 0) | (column == 1)).all() and (column.sum(axis=1) == 1).all())


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind in "fcMm":
        return np.isnat(column) if column.dtype.kind in "Mm" else np.isnan(column)
    if column.dtype.kind in "USTO":
        return np.fromiter(map(is_missing, column.astype(object)), bool, len(column))
    return np.zeros(len(column), bool)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT, pandas' NA or text without a word in it.

    Example:
        >>> [is_missing(value) for value in (None, float("nan"), "", "a", 0)]
        [True, True, True, False, False]
    """
    if isinstance(value, str | bytes):
        return not value.strip()
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (np.isscalar(value) and value != value)


def refuse_rows(wrong: NDArray[np.bool_], origin: Origin, rule: str) -> None:
    """Raise a DataError that counts the wrong rows and names the first, if there are any.

    Args:
        wrong: Which rows are wrong, shape ``(N,)``.
        origin: Names the rows.
        rule: What must hold, with ``{}`` in place of the count.
    """
    if wrong.any():
        raise DataError(
            f"{origin.name}: {rule.format(f'{int(wrong.sum()):,} of {len(wrong):,}')}, the first in "
            f"{origin.row(int(wrong.argmax()))} (the first row is 0). Leave these rows out."
        )
