"""The rows of a table whose columns are known, decoded once into one number per column."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.columns import Column
from aepretrain.data.decoded import DecodedData
from aepretrain.data.file_rows import FileRows
from aepretrain.data.float32 import SUBTRACT, check_digits, sampled_rows, sampled_within, to_float32
from aepretrain.data.origin import Origin
from aepretrain.data.table_files import TablePart
from aepretrain.data.words import count_of, list_of
from aepretrain.errors import DataError

CHECKS = 2
"""Version of what is checked while decoding: a cache that was checked for less is decoded again."""
EXAMPLES = 3
"""Unseen values of a column that are named."""
WAYS_OUT = {
    "date": "Dates are days since 2000-01-01 here: write the seconds since the first moment as a column of numbers "
    "instead, or leave the column out with data.drop."
}
"""What to do about values too close for float32, by kind of column, where numbers' own way out does not fit."""


class TableRows(DecodedData):
    """The rows of CSV or Parquet files as one number per column, whatever the order of columns in each file.

    Args:
        root: What the user named.
        parts: The files.
        columns: The columns, in order.
        counts: Number of rows of each file; ``None``: they are counted.
        title: Name of the table in messages; ``None``: its path.
        kwargs: Passed to :class:`~aepretrain.data.decoded.DecodedData`.

    Raises:
        DataError: If a file lacks a column, or holds a value of another kind.
    """

    dtype = "float32"

    def __init__(
        self,
        root: str | Path,
        parts: Sequence[TablePart],
        columns: Sequence[Column],
        counts: Sequence[int] | None = None,
        *,
        title: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, **kwargs)
        self.title = str(self.root) if title is None else title
        self.parts = list(parts)
        self.set_columns(columns)
        names = [column.name for column in columns]
        check_names(self.parts, names)
        self.counts = list(counts) if counts is not None else [count_rows(part, names[:1]) for part in parts]

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Take these columns as the features."""
        self.table_columns = list(columns)
        self.columns = [column.name for column in columns]
        self.in_shape = (len(columns),)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (len(self.table_columns),)

    @property
    def origin(self) -> Origin:
        return Origin(self.title, self.row_counts(), [column.name for column in self.table_columns])

    def row_counts(self) -> list[tuple[str, int]]:
        """Path and number of rows of every file."""
        return [(str(part.path), count) for part, count in zip(self.parts, self.counts, strict=True)]

    def files(self) -> Sequence[Path]:
        return [part.path for part in self.parts]

    def settings(self) -> dict[str, Any]:
        decimal = {"decimal": ","} if any(part.decimal == "," for part in self.parts) else {}
        return {"columns": [asdict(column) for column in self.table_columns], "checks": CHECKS, **decimal}

    def count(self) -> int:
        return sum(self.counts)

    def check_raw(self, x: FileRows) -> None:
        """Do nothing: a missing value is NaN, and infinite ones are refused while decoding."""

    def decode(self) -> Iterator[NDArray[Any]]:
        unknown, first = _Unknown(self.table_columns), 0
        sampled = sampled_rows(self.count())
        samples: list[list[NDArray[np.float64]]] = [[] for _ in self.table_columns]
        names = [column.name for column in self.table_columns]
        for part in self.parts:
            for batch in part.batches(names):
                rows = len(batch[names[0]])
                chosen = sampled_within(sampled, first, rows)
                found = np.empty((rows, len(names)), np.float32)
                for k, column in enumerate(self.table_columns):
                    numbers = column.encode(batch[column.name], self.origin, first)
                    unknown.see(k, numbers, batch[column.name])
                    found[:, k] = to_float32(numbers[:, None], replace(self.origin, columns=[column.name]), first)[:, 0]
                    samples[k].append(numbers[chosen])
                yield found
                first += rows
        for column, sample in zip(self.table_columns, samples, strict=True):
            known = np.concatenate([np.empty(0), *sample])
            origin, way_out = replace(self.origin, columns=[column.name]), WAYS_OUT.get(column.kind, SUBTRACT)
            check_digits(known[~np.isnan(known)][:, None], origin, way_out)
        self.found = unknown.found()

    def values_of(self, name: str | None) -> list[Any] | None:
        """The values of a column as they stand in the files; ``None`` if a file lacks it."""
        if name is None or any(name not in part.names for part in self.parts):
            return None
        batches = (batch for part in self.parts for batch in part.batches([name]))
        return [value for batch in batches for value in batch[name].to_pylist()]

    def unknown_values(self) -> list[str]:
        """A sentence for each column with values that its description does not have; known once rows were read."""
        return [f"{self.title}, column {words}" for words in self.found.get("unknown", ())]


class _Unknown:
    """Counts values of categories that have no code of their own, and missing ones where none were missing before."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.rows: Counter[int] = Counter()
        self.missing: Counter[int] = Counter()
        self.examples: dict[int, dict[str, None]] = {}

    def see(self, k: int, numbers: NDArray[np.float64], values: Any) -> None:
        column = self.columns[k]
        if not column.missing and (count := int(np.isnan(numbers).sum())):
            self.missing[k] += count
        if column.kind == "category" and (other := numbers == len(column.values)).any():
            self.rows[k] += int(other.sum())
            known = self.examples.setdefault(k, {})
            for row in np.flatnonzero(other)[:1000]:
                if len(known) > EXAMPLES:
                    break
                known[repr(values[int(row)].as_py())] = None

    def found(self) -> dict[str, list[str]]:
        """The facts as JSON has them: words on each column."""
        facts = []
        for k, count in self.rows.items():
            such = list_of(self.examples[k], most=EXAMPLES)
            facts.append(
                f"{self.columns[k].name}: {count_of(count, 'row')} with values that have no code of their own, such as "
                f"{such}, take the code of unseen values."
            )
        for k, count in self.missing.items():
            what = "the code of unseen values" if self.columns[k].kind == "category" else "the median"
            rows = f"{self.columns[k].name}: {count_of(count, 'row')}"
            facts.append(f"{rows} without a value, where none was missing before, take {what}.")
        return {"unknown": facts}


def check_names(
    parts: Sequence[TablePart], names: Sequence[str], other: str = "other columns by data.features"
) -> None:
    """Raise a DataError unless every file has these columns; the message ends with what ``other`` to name."""
    for part in parts:
        if lacking := [name for name in names if name not in part.names]:
            noun = "column" if len(lacking) == 1 else "columns"
            raise DataError(
                f"{part.path} has no {noun} {list_of(map(repr, lacking))}. It has {list_of(part.names, most=20)}. Add "
                f"what is missing to the file, or name {other}."
            )


def count_rows(part: TablePart, names: Sequence[str]) -> int:
    """Number of rows of a file."""
    return sum(len(batch[names[0]]) for batch in part.batches(names))
