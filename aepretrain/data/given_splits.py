"""Splits that come with the data: their names."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.origin import Origin
from aepretrain.data.row_values import to_column
from aepretrain.data.words import count_of, list_of
from aepretrain.errors import DataError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""The names of the splits, in capitals or not, in a column or as folders."""
ORDER = ("train", "validation", "test")
"""The splits, in the order of their numbers."""
EXAMPLES = ("training", "validation", "test")
"""What the examples of each are called in sentences."""


def number_splits(values: Any, count: int, origin: Origin) -> NDArray[np.int64]:
    """The splits of all rows by number: 0 for training, 1 for validation, 2 for test.

    Args:
        values: Name of the split of every row, a key of :data:`SPLITS` in capitals or not, shape ``(N,)``.
        count: Number of rows N.
        origin: Where the names come from, for messages.

    Raises:
        DataError: If a name is missing or another one, or no row is for training, or all are.

    Example:
        >>> number_splits(["Train", "test", "val", "train"], 4, Origin("splits.csv")).tolist()
        [0, 2, 1, 0]
    """
    found, rows, numbers = _named(to_column(values, count, "splits", origin))
    known = [SPLITS.get(name.lower()) for name in found]
    if None in known:
        sizes = np.bincount(numbers)
        others = [
            f"{name!r:.40} in {count_of(int(size), 'row')}, the first of them {origin.row(int(row))}"
            for name, split, size, row in zip(found, known, sizes, rows, strict=True)
            if split is None
        ]
        raise DataError(
            f"{origin.name}: splits must be train, validation or test, but other names stand there: "
            f"{list_of(others, '; ', 3)} (the first row is 0). Name the split of every row, or leave these rows out."
        )
    if "train" not in known or len(set(known)) < 2:
        raise DataError(
            f"{origin.name}: splits must name rows for train and for validation or test, but all rows are "
            f"{' or '.join(sorted({str(name) for name in known}))}. Name the split of every row."
        )
    return np.array([ORDER.index(str(split)) for split in known])[numbers]


def _named(column: NDArray[Any]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The different values as text, the first row of each, and the number of the value of every row."""
    text = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in column.tolist()]
    found, first, numbers = np.unique([value.strip() for value in text], return_index=True, return_inverse=True)
    return found.tolist(), first, numbers
