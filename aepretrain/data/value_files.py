"""Files that hold one value per row, such as its label, its group, its time or its split."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.npy import read_labels
from aepretrain.data.origin import listed
from aepretrain.data.parquet_columns import read_column
from aepretrain.data.parquet_files import read_files
from aepretrain.data.table_files import NO_VALUE, is_number
from aepretrain.errors import DataError
from aepretrain.storage.guard import read_text

CODE = re.compile(r"[+-]?(0\d|\d{16})")
"""How a number begins that is text rather: with a zero, or with more digits than a float has."""
LINES = (".csv", ".txt")
"""Endings of text files with a value in each line."""


def read_values(path: str | Path, count: int) -> NDArray[Any]:
    r"""The values in a ``.npy``, ``.csv``, ``.txt`` or ``.parquet`` file of one column.

    Lines of text are values as they are; a first line beyond the number of rows is taken as the name of the column.

    Args:
        path: The file.
        count: Number of rows.

    Raises:
        ConfigError: If pyarrow is needed and missing.
        DataError: If the file cannot be read, or has several columns.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "patients.csv"
        >>> path.write_text("patient\nanna\nanna\nbert\n")
        23
        >>> read_values(path, 3).tolist()
        ['anna', 'anna', 'bert']
    """
    path = Path(path).expanduser()
    ending = path.suffix.lower()
    if ending in LINES:
        return _read_lines(path, count)
    return _read_parquet(path) if ending == ".parquet" else read_labels(path)


def read_target_values(path: str | Path, count: int) -> NDArray[Any]:
    r"""The labels or targets in a file as :func:`read_values` takes it; lines of numbers are numbers.

    What stands for a missing value in a table does so in a line, too: it is NaN, or ``None`` among text.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "labels.csv"
        >>> path.write_text("2\n10\nNA\n")
        8
        >>> read_target_values(path, 3).tolist()
        [2.0, 10.0, nan]
    """
    values = read_values(path, count)
    if Path(path).suffix.lower() not in LINES:
        return values
    known = [None if value in NO_VALUE else value for value in values]
    if any(known) and all(value is None or (is_number(value) and not CODE.match(value)) for value in known):
        return np.array([np.nan if value is None else float(value) for value in known])
    return np.array(known, dtype=object)


def _read_lines(path: Path, count: int) -> NDArray[Any]:
    rows = read_csv(path)
    for number, row in enumerate(rows):
        if len(row) > 1:
            raise DataError(
                f"{path}: one value per line is needed, but line {number + 1} has {len(row)}. Keep one column."
            )
    values = [row[0] if row else "" for row in rows]
    while values and not values[-1] and len(values) > count:
        values.pop()
    return np.array(values[1:] if len(values) == count + 1 else values, dtype=object)


def read_csv(path: Path) -> list[list[str]]:
    """The lines of a text file, each as its values between commas.

    Raises:
        DataError: If the file cannot be read as text.
    """
    try:
        text = io.StringIO(read_text(path).removeprefix("\ufeff"), newline="")
        return [[value.strip() for value in row] for row in csv.reader(text)]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no text with commas: {error}. Save it as UTF-8.") from error


def _read_parquet(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise DataError(f"{path} cannot be read: there is no such file. Check the path.")
    files = read_files(path, [path])
    if len(names := files[0].schema.names) != 1:
        raise DataError(f"{path}: one column is needed, but it has {listed(names)}. Keep one column.")
    return read_column(names[0], files)
