"""Rows that belong together, such as those of one subject: a group never stands in two splits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.given_splits import EXAMPLES
from aepretrain.data.origin import Origin
from aepretrain.data.row_values import to_column
from aepretrain.data.words import count_of
from aepretrain.errors import DataError

DRAWS = 50
"""Number of choices of groups that are tried at most; the best is kept."""
LOOKS = 100_000
"""Number of groups that all these choices look at, at most; one choice is always tried."""
NEAR = 0.1
"""A choice is good enough if its numbers of examples by class are so near those asked for, as a fraction."""


def number_groups(values: Any, count: int, origin: Origin) -> NDArray[np.int64]:
    """Number groups from 0, in the order in which they first occur: other names of the same groups change nothing.

    Args:
        values: Name of the group of every row, shape ``(N,)``: numbers, text or any other values that can be compared.
        count: Number of rows N.
        origin: Where the names come from, for messages.

    Raises:
        DataError: If they are missing, or not one per row.

    Example:
        >>> number_groups(["eve", "adam", "eve"], 3, Origin("subjects")).tolist()
        [0, 1, 0]
    """
    column = to_column(values, count, "groups", origin)
    if column.dtype.kind == "O":
        numbers: dict[Any, int] = {}
        try:
            return np.array([numbers.setdefault(value, len(numbers)) for value in column], dtype=np.int64)
        except TypeError as error:
            raise DataError(
                f"{origin.name}: groups must be numbers or text: {error}. Give one name per row."
            ) from error
    _, first, found = np.unique(column, return_index=True, return_inverse=True)
    return first.argsort().argsort()[found]


def check_splits(groups: NDArray[np.int64], given: NDArray[np.int64], giver: str, origin: Origin) -> None:
    """Raise a DataError if a group stands in two given splits.

    Args:
        groups: Number of the group of every row, shape ``(N,)``.
        given: Number of the split of every row, shape ``(N,)``.
        giver: What gives the splits, for the message.
        origin: Where the groups come from, for the message.
    """
    first = np.zeros(groups.max() + 1, np.int64)
    first[groups[::-1]] = given[::-1]  # the split of the first row of each group
    wrong = given != first[groups]
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{origin.name}: a group must stand in one split, but {origin.row(row)} (the first row is 0) is for "
            f"{EXAMPLES[given[row]]} by {giver}, and an earlier row of its group for {EXAMPLES[first[groups[row]]]} "
            f"({count_of(len(np.unique(groups[wrong])), 'such group')}). Leave data.groups out, or give other splits."
        )


def take_groups(
    groups: NDArray[np.int64], y: NDArray[np.int64] | None, number: int, *, leave: int, seed: int
) -> NDArray[np.bool_]:
    """Choose whole groups of about ``number`` rows in all, with about equal shares of every class.

    Groups are taken in random order, each if it brings the numbers of examples by class nearer to those asked for. Of
    :data:`DRAWS` such choices the best is kept, or the first that is good enough. The only group of a class is not
    taken.

    Args:
        groups: Number of the group of every row, shape ``(N,)``.
        y: Labels, shape ``(N,)``; ``None``: no classes.
        number: Number of rows asked for.
        leave: Number of groups that must be left.
        seed: Chooses the groups.

    Returns:
        Whether each row is taken, shape ``(N,)``.

    Raises:
        DataError: If there are too few groups, or no class is in two of them.

    Example:
        >>> groups = np.repeat(np.arange(10), 3)
        >>> taken = take_groups(groups, None, 6, leave=2, seed=0)
        >>> int(taken.sum()), len(np.unique(groups[taken]))
        (6, 2)
    """
    table = _Table(groups, np.zeros_like(groups) if y is None else y)
    if table.groups <= leave:
        raise DataError(
            f"{table.groups} groups cannot be divided into {leave + 1} splits, of which each needs a group of its own. "
            "Give finer groups, or splits of your own by data.splits."
        )
    if (table.spread < 2).all():
        raise DataError(
            "no class is in two of the groups, so that a class would be either learnt or tested. Give more groups of "
            "each class, groups that hold several classes, or splits of your own by data.splits."
        )
    wanted = number / len(groups) * table.sizes
    best, least = None, (len(wanted) + 1, np.inf)
    generator = np.random.default_rng(seed)
    for _ in range(max(1, min(DRAWS, LOOKS // table.groups))):
        chosen = _choose(table, wanted, table.groups - leave, generator.permutation(table.groups))
        found = table.numbers(chosen)
        missing = int(((found == 0) & (table.spread > 1)).sum())
        score = (missing, float(np.linalg.norm(wanted - found) / np.linalg.norm(wanted)))
        if score < least:
            best, least = chosen, score
        if score <= (0, NEAR):
            break
    assert best is not None
    return best[table.group]


class _Table:
    """Number of rows by group and class, those that are not 0.

    Args:
        groups: Number of the group of every row, shape ``(N,)``.
        y: Labels, shape ``(N,)``.
    """

    def __init__(self, groups: NDArray[np.int64], y: NDArray[np.int64]) -> None:
        self.group = np.unique(groups, return_inverse=True)[1]
        self.groups = int(self.group.max()) + 1
        classes = int(y.max()) + 1
        pairs, self._counts = np.unique(self.group * classes + y, return_counts=True)
        self._owners, self._labels = np.divmod(pairs, classes)
        self._starts = np.searchsorted(self._owners, np.arange(self.groups + 1))
        self.sizes = np.bincount(y)
        """Number of rows of each class."""
        self.spread = np.bincount(self._labels, minlength=classes)
        """Number of groups that hold each class."""

    def of(self, group: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The classes in a group, and its number of rows of each."""
        place = slice(self._starts[group], self._starts[group + 1])
        return self._labels[place], self._counts[place]

    def numbers(self, chosen: NDArray[np.bool_]) -> NDArray[Any]:
        """Number of rows of each class in the chosen groups."""
        return np.bincount(self._labels, self._counts * chosen[self._owners], minlength=len(self.sizes))


def _choose(table: _Table, wanted: NDArray[Any], most: int, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Choose 1 to ``most`` groups in this order.

    First those that bring the numbers of rows by class nearer to those wanted, then one of each class still missing.
    """
    chosen: list[int] = []
    lacking, left = wanted.copy(), table.spread.copy()

    def choose(group: int) -> None:
        labels, counts = table.of(group)
        if len(chosen) < most and (left[labels] > 1).all():
            chosen.append(group)
            lacking[labels] -= counts
            left[labels] -= 1

    for group in order:
        labels, counts = table.of(group)
        if (counts * (counts - 2 * lacking[labels])).sum() < 0:
            choose(group)
        if lacking.sum() <= 0:
            break
    if (left == table.spread)[wanted > 0].any():
        for group in order[~np.isin(order, chosen)]:
            if (left == table.spread)[table.of(group)[0]].any():
                choose(group)
    if not chosen:
        chosen.append(min(order, key=lambda group: table.of(group)[1].sum()))
    return np.isin(np.arange(table.groups), chosen)
