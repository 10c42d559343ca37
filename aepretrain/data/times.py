"""The order of rows in time: what is trained on lies before what is tested on."""

import contextlib
import operator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.origin import Origin
from aepretrain.data.row_values import refuse_rows, to_column
from aepretrain.errors import DataError

MICROSECOND = timedelta(microseconds=1)


def rank_times(values: Any, count: int, origin: Origin) -> NDArray[np.int64]:
    """Rank times from 0; equal times have one rank.

    Args:
        values: Time of every row, shape ``(N,)``: numbers, dates, or text with numbers or dates as in 2026-01-31 or
            2026-01-31T12:00:00.
        count: Number of rows N.
        origin: Where the times come from, for messages.

    Raises:
        DataError: If they are missing, not one per row, or no times.

    Example:
        >>> rank_times(["2026-01-02", "2025-12-31", "2026-01-02"], 3, Origin("dates.csv")).tolist()
        [1, 0, 1]
    """
    column = to_column(values, count, "times", origin)
    if column.dtype.kind in "USTO":
        column = _parsed(column.astype(object), origin)
    if column.dtype.kind not in "biufMm":
        raise DataError(f"{origin.name}: times must be numbers or dates, but are {column.dtype}. Make them so.")
    if column.dtype.kind == "f":
        refuse_rows(~np.isfinite(column), origin, "times must be finite, but {} are not")
    return np.unique(column, return_inverse=True)[1]


def _parsed(column: NDArray[Any], origin: Origin) -> NDArray[Any]:
    """Python's objects as numbers, or as dates in microseconds."""
    values = column.tolist()
    for read, dtype in ((_whole, np.int64), (float, np.float64)):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            return np.array([read(value) for value in values], dtype)
    moments = [_moment(value) for value in values]
    if None in moments:
        row = moments.index(None)
        raise DataError(
            f"{origin.name}: times must be all numbers, or all dates such as 2026-01-31 or 2026-01-31T12:00:00, but "
            f"{origin.row(row)} (the first row is 0) holds {values[row]!r:.40}. Write all of them alike."
        )
    dates = [moment for moment in moments if moment is not None]
    if len({moment.tzinfo is None for moment in dates}) > 1:
        raise DataError(
            f"{origin.name}: times must all have a time zone, or none of them, but some have. Write all of them alike."
        )
    start = datetime(1970, 1, 1, tzinfo=None if dates[0].tzinfo is None else UTC)
    return np.array([(moment - start) // MICROSECOND for moment in dates])


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, str | bytes) else operator.index(value)


def _moment(value: Any) -> datetime | None:
    """A date, or the text of one; ``None``: it is neither."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(value.strip())
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value if isinstance(value, datetime) else None


def take_last(times: NDArray[np.int64], number: int, *, leave: int) -> NDArray[np.bool_]:
    """Choose the last rows in time, about ``number``: rows of equal time are taken together or left together.

    Args:
        times: Rank of the time of every row, shape ``(N,)``.
        number: Number of rows asked for.
        leave: Number of different times that must be left.

    Returns:
        Whether each row is taken, shape ``(N,)``.

    Raises:
        DataError: If there are too few different times.

    Example:
        >>> take_last(np.array([0, 1, 1, 1, 2, 3]), 3, leave=2).tolist()
        [False, False, False, False, True, True]
    """
    found, counts = np.unique(times, return_counts=True)
    if len(found) <= leave:
        raise DataError(
            f"rows of {len(found)} different times cannot be divided into {leave + 1} splits, of which each needs a "
            "time of its own. Give finer times, or leave data.order out."
        )
    after = counts[::-1].cumsum()[: len(found) - leave]
    return times >= found[len(found) - 1 - int(np.abs(after - number).argmin())]


def first_times(groups: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first time of the group of every row.

    Args:
        groups: Number of the group of every row, shape ``(N,)``.
        times: Rank of the time of every row, shape ``(N,)``.

    Example:
        >>> first_times(np.array([0, 1, 0]), np.array([5, 6, 7])).tolist()
        [5, 6, 5]
    """
    first = np.full(groups.max() + 1, times.max())
    np.minimum.at(first, groups, times)
    return first[groups]
