"""Where rows come from, in the words of messages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Origin:
    """Names rows and columns as the user knows them: the first row is row 0, in every file.

    Args:
        name: What holds the rows: a source, an argument or a file.
        files: Path and number of rows of every file, in the order of the rows; empty: rows are not in files.
        columns: Names of the features; empty: features are numbered.
        numbers: Number of each row among all rows, where these are a choice; ``None``: they are all.

    Example:
        >>> Origin("Arrays").row(3)
        'row 3'
        >>> Origin("table/", [("a.parquet", 10), ("b.parquet", 5)]).row(12)
        'row 2 of b.parquet'
        >>> Origin("x.npy", columns=["mass", "age"]).column(1), Origin("x.npy").column(1)
        ('column age', 'column 1')
        >>> Origin("x.npy").column(27, (12, 25))
        'position [1, 2]'
    """

    name: str
    files: Sequence[tuple[str, int]] = ()
    columns: Sequence[str] = ()
    numbers: Sequence[int] | NDArray[np.int64] | None = None

    def row(self, number: int) -> str:
        """The words for a row, given its number among these rows."""
        if self.numbers is not None:
            number = int(self.numbers[number])
        for file, count in self.files:
            if number < count:
                return f"row {number} of {file}"
            number -= count
        return f"row {number}"

    def column(self, number: int, shape: Sequence[int] = ()) -> str:
        """The words for a feature, given its number in a flattened example of this shape."""
        if number < len(self.columns):
            return f"column {self.columns[number]}"
        if len(shape) < 2:
            return f"column {number}"
        return f"position [{', '.join(str(place) for place in np.unravel_index(number, shape))}]"


def listed(names: Sequence[object], most: int = 10) -> str:
    """Names separated by commas, the first ones of many.

    Example:
        >>> listed(["a", "b"]), listed(range(30), most=2)
        ('a, b', '0, 1, … (30 in all)')
    """
    words = ", ".join(map(str, names[:most]))
    return words if len(names) <= most else f"{words}, … ({len(names)} in all)"
