"""Labels of any kind, numbered as classes."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.column_doubts import differing_in_capitals
from aepretrain.data.origin import Origin, listed
from aepretrain.data.row_values import refuse_rows, to_column
from aepretrain.errors import ConfigError, DataError

MANY = 20
"""Number of classes from which on they may look like an id: if they are more than half as many as the examples."""
UNLABELLED = (-1, -100)
"""Marks of rows without a label in scikit-learn and in PyTorch."""
LOOK_MISSING = ("nan", "none", "null", "nat", "<na>", "n/a")
"""Words that are left where missing values were made text."""


@dataclass(frozen=True)
class Labels:
    """Labels as classes, numbered from 0 in the order of their values.

    Args:
        y: Number of the class of every example, int64, shape ``(N,)``.
        num_classes: Number of classes.
        names: The labels as text, by the number of the class; ``None``: the labels are these numbers already.
        warnings: Sentences on what looks wrong.
    """

    y: Tensor
    num_classes: int
    names: list[str] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """A sentence on the classes."""
        named = "" if self.names is None else f", numbered from 0 in this order: {listed(self.names)}"
        return f"the labels name {self.num_classes} classes{named}."


def number_classes(
    values: Any, count: int, num_classes: int | None, origin: Origin, *, are_classes: bool = False
) -> Labels:
    """Number the labels that occur from 0, in sorted order; labels that are 0 to K-1 already stay as they are.

    Args:
        values: Whole numbers, strings or booleans, shape ``(N,)``: an array, a tensor, a list or a pandas series.
        count: Number of examples N.
        num_classes: Number of classes, where the labels are their numbers; ``None``: all labels that occur.
        origin: Where the labels come from, for messages.
        are_classes: Whether many different labels are classes, as the user says, and no id.

    Raises:
        DataError: If labels are missing, no classes, of one class alone, not ``count``, or not below ``num_classes``.
        ConfigError: If ``num_classes`` is below 2.

    Example:
        >>> found = number_classes([30, 10, 20, 10], 4, None, Origin("labels"))
        >>> found.y.tolist(), found.names
        ([2, 0, 1, 0], ['10', '20', '30'])
        >>> number_classes([1, 0, 2], 3, None, Origin("labels")).names is None
        True
    """
    if num_classes is not None and num_classes < 2:
        raise ConfigError(f"data.num_classes must be >= 2, but got {num_classes}. Leave it out to count the classes.")
    if not count:
        raise DataError(f"{origin.name}: there are no examples. Check the path.")
    column = one_kind(to_column(values, count, "labels", origin), origin)
    found, y = np.unique(column, return_inverse=True)
    if len(found) < 2:
        raise DataError(
            f"{origin.name}: labels must name at least 2 classes, but all are {found[0]!s}. Leave them out."
        )
    is_number = column.dtype.kind in "iu" or isinstance(found[0], int)
    if num_classes is not None:
        return _in_range(column, found, y, num_classes, is_number, origin)
    if len(found) > max(MANY, count / 2) and not are_classes:
        numbers = "data.target_type real to predict numbers, " if is_number else ""
        raise DataError(
            f"{origin.name}: labels look like an id or a measurement: {len(found):,} different values in {count:,} "
            f"examples, such as {listed(found.tolist(), 3)}. Set {numbers}data.target_type class if they are classes, "
            "or leave the labels out."
        )
    names = [str(value) for value in found.tolist()]
    warnings = _doubts(names, origin)
    is_numbered = is_number and found[0] == 0 and found[-1] == len(found) - 1
    return Labels(torch.from_numpy(y.astype(np.int64)), len(found), None if is_numbered else names, warnings)


def _in_range(
    column: NDArray[Any], found: NDArray[Any], y: NDArray[Any], num_classes: int, is_number: bool, origin: Origin
) -> Labels:
    """Labels whose number of classes is given."""
    if not is_number:
        if len(found) != num_classes:
            raise DataError(
                f"{origin.name}: labels name {len(found)} classes ({listed(found.tolist())}), but data.num_classes is "
                f"{num_classes}. Leave data.num_classes out."
            )
        return Labels(torch.from_numpy(y.astype(np.int64)), num_classes, [str(value) for value in found.tolist()])
    low, high = int(found[0]), int(found[-1])
    if low < 0 or high >= num_classes:
        raise DataError(
            f"{origin.name}: labels must lie in [0, {num_classes - 1}], but reach from {low} to {high}. "
            "Leave data.num_classes out: the labels that occur are then numbered from 0."
        )
    return Labels(torch.from_numpy(column.astype(np.int64)), num_classes)


def _doubts(names: Sequence[str], origin: Origin) -> tuple[str, ...]:
    """Warnings on labels that look like a mark of missing ones, or like one class written in two ways."""
    marks = [
        f"{origin.name}: a class is called {name!r}, as missing labels are that were made text. If it means missing, "
        "leave these rows out."
        for name in names
        if name.strip().lower() in LOOK_MISSING
    ]
    twins = [
        f"{origin.name}: classes are called {pair}. Write them alike if they are one class."
        for pair in differing_in_capitals(names)
    ]
    return (*marks, *twins)


def unlabelled_marks(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Which labels mark a row without one: :data:`UNLABELLED`, if the others are at least two whole numbers from 0 on.

    Args:
        column: Labels, none of them missing, shape ``(N,)``.

    Example:
        >>> unlabelled_marks(np.array([0, -1, 1])).tolist(), unlabelled_marks(np.array([1, -1, 1])).tolist()
        ([False, True, False], [False, False, False])
    """
    try:
        numbers = column.astype(np.float64) if column.dtype.kind in "iufO" else np.zeros(0)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if not len(numbers) or any(isinstance(value, str | bytes) for value in column[:1]):
        return np.zeros(len(column), bool)
    marked = np.isin(numbers, UNLABELLED)
    others = numbers[~marked]
    is_mark = marked.any() and bool((others >= 0).all()) and len(np.unique(others)) > 1
    return marked if is_mark else np.zeros(len(column), bool)


def one_kind(column: NDArray[Any], origin: Origin, *, fractions: bool = False) -> NDArray[Any]:
    """Labels of one kind: whole numbers, booleans or text.

    Args:
        column: Labels, none of them missing, shape ``(N,)``.
        origin: Names the rows.
        fractions: Whether numbers need not be whole.

    Raises:
        DataError: If they are of several kinds, or of another one.
    """
    if column.dtype.kind in "USTO":
        column = _objects(column.astype(object), origin)
    if column.dtype.kind == "f" and not fractions:
        return _whole(column.astype(np.float64), origin)
    if column.dtype.kind not in "biufO":
        kind = {"M": "dates", "m": "times", "c": "complex numbers"}.get(column.dtype.kind, str(column.dtype))
        raise DataError(f"{origin.name}: labels must be whole numbers or names, but are {kind}. Make them so.")
    return column


def _whole(column: NDArray[Any], origin: Origin) -> NDArray[Any]:
    refuse_rows(np.isinf(column), origin, "labels must be finite, but {} are infinite")
    broken = column != np.floor(column)
    if broken.any():
        row = int(broken.argmax())
        raise DataError(
            f"{origin.name}: labels must be whole numbers or names of classes, but {column[row]!s} in "
            f"{origin.row(row)} (the first row is 0) looks like a measurement. Set data.target_type real to predict "
            "numbers, or group the values into classes, for example with np.digitize."
        )
    return _integers([int(value) for value in column]) if np.abs(column).max() >= 2**63 else column.astype(np.int64)


def _objects(column: NDArray[Any], origin: Origin) -> NDArray[Any]:
    """Python's objects of one kind as an array of this kind."""
    kinds = [_kind(value) for value in column]
    counts = Counter(kinds)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        row = next(row for row, kind in enumerate(kinds) if kind != usual)
        raise DataError(
            f"{origin.name}: labels must be of one kind, but most are {usual} and {origin.row(row)} (the first row is "
            f"0) holds {column[row]!r}. Write all of them alike."
        )
    kind = kinds[0]
    if kind not in CONVERT:
        raise DataError(
            f"{origin.name}: labels must be whole numbers, strings or booleans, but {origin.row(0)} (the first row is "
            f"0) holds {kind}. Make them so."
        )
    return CONVERT[kind](column.tolist())


def _kind(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "booleans"
    if isinstance(value, Real | Decimal):
        return "numbers"
    return "text" if isinstance(value, str | bytes) else f"a {type(value).__name__}"


def _numbers(values: list[Any]) -> NDArray[Any]:
    if all(isinstance(value, Integral) for value in values):
        return _integers([int(value) for value in values])
    return np.array([float(value) for value in values])


def _integers(values: list[int]) -> NDArray[Any]:
    """Whole numbers of any size."""
    fits = min(values) >= -(2**63) and max(values) < 2**63
    return np.array(values, dtype=np.int64 if fits else object)


def _text(values: list[Any]) -> NDArray[Any]:
    return np.array(
        [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values], object
    )


CONVERT: dict[str, Callable[[list[Any]], NDArray[Any]]] = {
    "booleans": lambda values: np.array(values, dtype=bool),
    "numbers": _numbers,
    "text": _text,
}
"""For each kind of Python's objects that labels may be, how they become an array."""
