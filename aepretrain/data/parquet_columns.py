"""The columns of a Parquet table as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.origin import Origin, listed
from aepretrain.data.parquet_files import TableFile, open_file, unreadable
from aepretrain.errors import DataError

MOST_LISTED = 20
"""Columns of numbers that a message lists at most, to be copied."""


@dataclass(frozen=True)
class FeatureColumn:
    """A column of features: one number per row, a list of ``width`` numbers, or the numbers of a partition key.

    Args:
        name: Its name.
        width: Number of features.
        is_list: Whether every row holds a list.
        is_key: Whether the numbers are in the names of folders.
    """

    name: str
    width: int = 1
    is_list: bool = False
    is_key: bool = False

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        return [f"{self.name}[{k}]" for k in range(self.width)] if self.is_list else [self.name]

    def read(self, column: Any, origin: Origin, first: int) -> NDArray[Any]:
        """The values of a pyarrow array in their own type, shape ``(n, width)``; missing ones are NaN.

        Args:
            column: The array.
            origin: Where the rows come from, for messages.
            first: Number of the first row.

        Raises:
            DataError: If a list is missing or of another length.
        """
        if self.is_list:
            self._check_lengths(column, origin, first)
            column = column.flatten()
        values = column.to_numpy(zero_copy_only=False)
        return (values.astype(np.float32) if values.dtype == object else values).reshape(-1, self.width)

    def _check_lengths(self, column: Any, origin: Origin, first: int) -> None:
        import pyarrow.compute

        lengths = pyarrow.compute.list_value_length(column)
        found = np.where(column.is_null().to_numpy(zero_copy_only=False), -1, lengths.fill_null(-1).to_numpy())
        wrong = found != self.width
        if wrong.any():
            row = int(wrong.argmax())
            held = "no list" if found[row] < 0 else f"a list of {found[row]}"
            raise DataError(
                f"{origin.name}: column {self.name} must hold lists of one length, but {origin.row(first + row)} (the "
                f"first row is 0) holds {held}, and other rows {self.width} values. Pad or drop it, or name other "
                "columns by data.columns."
            )


def describe_columns(names: Sequence[str], files: Sequence[TableFile]) -> list[FeatureColumn]:
    """Columns of features, each of the same type in all files.

    Raises:
        DataError: If a file does not have one, its type differs, or columns hold no numbers; all of these are named.
    """
    found, others = [], {}
    for name in names:
        if (kind := _other_kind(name, files)) is None:
            found.append(_describe_column(name, files))
        else:
            others[name] = kind
    if others:
        one = len(others) == 1
        held = listed([f"{name} ({kind})" for name, kind in others.items()])
        numbers = [column.name for column in found]
        way_out = "name the features by data.columns"
        if numbers and len(numbers) <= MOST_LISTED:
            way_out = f"leave {'it' if one else 'them'} out: --data.columns '[{', '.join(numbers)}]'"
        raise DataError(
            f"{files[0].path}: {'column' if one else 'columns'} {held} {'holds' if one else 'hold'} no numbers. Read "
            f"{'it' if one else 'them'} by --data Table, or {way_out}."
        )
    return found


def _other_kind(name: str, files: Sequence[TableFile]) -> str | None:
    """What a column holds instead of numbers, as a word; ``None``: numbers, or a column that is missing."""
    from pyarrow import types

    held = [file.schema.field(name).type for file in files if name in file.schema.names]
    if not held or _holds_numbers(held[0]):
        return None
    for is_kind, word in (
        (types.is_string, "text"),
        (types.is_large_string, "text"),
        (types.is_string_view, "text"),
        (types.is_dictionary, "categories"),
        (types.is_temporal, "dates or times"),
        (types.is_decimal, "decimals"),
        (types.is_null, "nothing"),
    ):
        if is_kind(held[0]):
            return word
    return str(held[0])


def _holds_numbers(type_: Any) -> bool:
    from pyarrow import types

    numbers = type_.value_type if _is_list(type_) else type_
    return types.is_floating(numbers) or types.is_integer(numbers) or types.is_boolean(numbers)


def _is_list(type_: Any) -> bool:
    from pyarrow import types

    return types.is_fixed_size_list(type_) or types.is_list(type_) or types.is_large_list(type_)


def _describe_column(name: str, files: Sequence[TableFile]) -> FeatureColumn:
    having = [str(file.path) for file in files if name in file.schema.names]
    for file in files:
        file.check_has(name, having)
    if not having:
        return _describe_key(name, files)
    first = files[0].schema.field(name).type if name in files[0].schema.names else None
    for file in files:
        if name not in file.schema.names or file.schema.field(name).type != first:
            raise DataError(
                f"{file.path}: column {name} has not the type that it has in {files[0].path}. Write all files with one "
                "type, or leave the column out by naming others in data.columns."
            )
    return _describe_type(name, first, files)


def _describe_key(name: str, files: Sequence[TableFile]) -> FeatureColumn:
    for file in files:
        if not isinstance(file.keys[name], int | float):
            raise DataError(
                f"{file.path}: the partition key {name} is {file.keys[name]!r} and no number. Leave it out of "
                "data.columns."
            )
    return FeatureColumn(name, is_key=True)


def _describe_type(name: str, type_: Any, files: Sequence[TableFile]) -> FeatureColumn:
    from pyarrow import types

    if not _is_list(type_):
        return FeatureColumn(name)
    width = type_.list_size if types.is_fixed_size_list(type_) else _first_length(name, files)
    return FeatureColumn(name, width, is_list=True)


def _first_length(name: str, files: Sequence[TableFile]) -> int:
    """The length of the first list in a column whose type does not tell it."""
    for file in files:
        try:
            for batch in open_file(file.path).iter_batches(64, columns=[name], use_threads=False):
                lengths = [len(value) for value in batch.column(name).drop_null()]
                if lengths and lengths[0]:
                    return lengths[0]
        except (OSError, ValueError) as error:
            raise unreadable(file.path, error) from error
    raise DataError(f"column {name} holds no list of numbers in any row. Name the features by data.columns.")


def read_column(name: str, files: Sequence[TableFile], noun: str = "labels") -> NDArray[Any]:
    """One value per row of all files, as numbers, dates or Python's objects.

    Args:
        name: A column or partition key.
        files: The files.
        noun: What the values are: labels, groups, times or splits.

    Raises:
        DataError: If a file has no such column, or it holds lists.
    """
    parts = [_column_of(name, file, noun) for file in files]
    if len({part.dtype.kind for part in parts}) > 1:
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)


def _column_of(name: str, file: TableFile, noun: str) -> NDArray[Any]:
    from pyarrow import types

    setting = "data.target" if noun == "labels" else f"data.{noun}"
    file.check_has(name, setting=setting)
    if name not in file.schema.names:
        return np.full(file.rows, file.keys[name], dtype=object)
    type_ = file.schema.field(name).type
    if types.is_nested(type_):
        raise DataError(f"{file.path}: {noun} must be one number per row. Name a column of {noun} by {setting}.")
    try:
        column = open_file(file.path).read(columns=[name]).column(name)
    except (OSError, ValueError) as error:
        raise unreadable(file.path, error) from error
    # The codes of a dictionary would become labels of their own where one is missing.
    return (column.cast(type_.value_type) if types.is_dictionary(type_) else column).to_numpy()
