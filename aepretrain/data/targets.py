"""Targets of any source: classes or real numbers, and the rows that have one."""

from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.float32 import check_digits, to_float32
from aepretrain.data.labels import MANY, UNLABELLED, number_classes, one_kind, unlabelled_marks
from aepretrain.data.origin import Origin
from aepretrain.data.row_values import partial_column, refuse_rows
from aepretrain.data.words import count_of
from aepretrain.errors import ConfigError, DataError

TargetType = Literal["auto", "class", "real"]
"""What targets are: classes, real numbers, or found by :func:`is_measured`."""
PER_VALUE = 10
"""Whole numbers with fewer examples per value than this, many values and gaps between them are real targets."""


@dataclass(frozen=True)
class Targets:
    """The targets of rows, and which rows have one.

    Args:
        rows: Numbers of the rows with a target, in order, shape ``(L,)``.
        y: Their targets: numbers of classes, int64, or real numbers, float32, shape ``(L,)``.
        num_classes: Number of classes; ``None``: targets are real numbers.
        names: Names of the classes; ``None``: they have none.
        notes: Sentences on what the targets are, and on rows without one.
        warnings: Sentences on what looks wrong.
    """

    rows: Tensor
    y: Tensor
    num_classes: int | None
    names: list[str] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_targets(
    values: Any, count: int, origin: Origin, *, target_type: TargetType = "auto", num_classes: int | None = None
) -> Targets:
    """Tell classes from real numbers, and rows with a target from rows without.

    A missing value (empty, NaN, None) marks a row without a target; among classes that are whole numbers from 0 on, -1
    and -100 do so, too.

    Args:
        values: Whole or real numbers, strings or booleans, shape ``(N,)``.
        count: Number of rows N.
        origin: Where the targets come from, for messages.
        target_type: ``class``, ``real``, or ``auto`` for what :func:`is_measured` finds.
        num_classes: Number of classes, where the labels are their numbers; ``None``: all labels that occur.

    Raises:
        DataError: If no row has a target, or targets are neither classes nor finite numbers, or all alike.
        ConfigError: If ``num_classes`` is below 2, or targets are real.

    Example:
        >>> found = read_targets([2, -1, 0, 1, 2, None], 6, Origin("labels"))
        >>> found.rows.tolist(), found.y.tolist(), found.num_classes
        ([0, 2, 3, 4], [2, 0, 1, 2], 3)
        >>> read_targets([2.5, None, 0.5], 3, Origin("labels")).y
        tensor([2.5000, 0.5000])
    """
    if target_type not in get_args(TargetType):
        raise ConfigError(f"data.target_type must be {', '.join(get_args(TargetType))}, but is {target_type!r}.")
    if target_type == "real" and num_classes is not None:
        raise ConfigError("data.num_classes is for classes, but data.target_type is real. Leave one of them out.")
    column, missing = partial_column(values, count, "labels", origin)
    rows = np.flatnonzero(~missing)
    if count and not len(rows):
        raise DataError(f"{origin.name}: all labels are missing. Leave them out, or fill in some.")
    origin = replace(origin, numbers=rows) if len(rows) < count else origin
    known = column[rows]
    if target_type == "real" or (target_type == "auto" and num_classes is None and is_measured(known)):
        return _real(known, rows, count, origin)
    marked = unlabelled_marks(known)
    if marked.any():
        rows, origin = rows[~marked], replace(origin, numbers=rows[~marked])
    found = number_classes(column[rows], len(rows), num_classes, origin, are_classes=target_type == "class")
    notes, warnings = [found.note, *_without(count - len(rows))], [*found.warnings]
    if marked.any():
        which = " and ".join(str(mark) for mark in UNLABELLED if (known[marked] == mark).any())
        words = f"{which} marks {count_of(int(marked.sum()), 'row')} without a label"
        if found.num_classes == 2:
            warnings.append(f"{origin.name}: {words}. If it is a class, write the labels as text.")
        else:
            notes.append(f"{words}.")
    numbers = torch.from_numpy(rows)
    return Targets(numbers, found.y, found.num_classes, found.names, tuple(notes), tuple(warnings))


def is_measured(column: NDArray[Any]) -> bool:
    """Whether values are real numbers, not classes.

    They are if one of them has a fraction; and if they are whole numbers of more than 20 different values, of which
    some between the least and the largest are absent, with fewer than 10 examples of each on average. Values that are
    all different and ascend count rows and are none.

    Args:
        column: No value is missing, shape ``(N,)``.

    Example:
        >>> is_measured(np.array([0.5, 1.0])), is_measured(np.arange(60) % 30)
        (True, False)
        >>> is_measured(np.random.default_rng(0).integers(25, 347, 442))
        True
    """
    if column.dtype.kind == "O":
        if not all(isinstance(value, Real | Decimal) and not isinstance(value, bool) for value in column):
            return False
        column = column.astype(np.float64)
    if column.dtype.kind not in "iuf":
        return False
    if column.dtype.kind == "f" and (column[np.isfinite(column)] % 1).any():
        return True
    found = np.unique(column)
    if len(found) <= MANY or len(column) >= PER_VALUE * len(found):
        return False
    has_gaps = float(found[-1]) - float(found[0]) >= len(found)
    return has_gaps and not (len(found) == len(column) and bool((column[1:] > column[:-1]).all()))


def _real(known: NDArray[Any], rows: NDArray[np.int64], count: int, origin: Origin) -> Targets:
    """Real targets as float32."""
    column = one_kind(known, origin, fractions=True)
    if column.dtype.kind not in "biuf":
        raise DataError(
            f"{origin.name}: real targets must be numbers, but {origin.row(0)} (the first row is 0) holds "
            f"{known[0]!s:.40}. Leave data.target_type out to take them as classes."
        )
    refuse_rows(np.isinf(column.astype(np.float64)), origin, "real targets must be finite, but {} are infinite")
    if (column == column[0]).all():
        raise DataError(f"{origin.name}: real targets must differ, but all are {column[0]!s}. Leave them out.")
    check_digits(column[:, None], replace(origin, columns=["of targets"]))
    y = torch.from_numpy(to_float32(column, origin).copy())
    words = f"the target is real, from {y.min():.6g} to {y.max():.6g}: it is predicted by regression."
    if column.dtype.kind in "iu" or not (column % 1).any():
        words += " Its values are whole numbers; if they are classes, set data.target_type class."
    return Targets(torch.from_numpy(rows), y, None, notes=(words, *_without(count - len(rows))))


def _without(number: int) -> list[str]:
    return [f"{count_of(number, 'row')} without a label: they are for pretraining alone."] if number else []
