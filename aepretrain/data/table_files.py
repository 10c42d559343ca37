"""Tables in files: CSV and Parquet, read batch by batch as Arrow columns."""

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from aepretrain.data.parquet_files import NOT_DATA, TableFile, read_batches, read_files
from aepretrain.errors import AEPretrainError, ConfigError, DataError
from aepretrain.storage.guard import open_regular

CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
ENDINGS = (*CSV_ENDINGS, ".parquet")
"""Endings of the files of a table, in capitals or not."""
IN_FOLDERS = tuple(ending for ending in ENDINGS if ending != ".txt")
"""Endings of those in a folder, where text may be anything."""
SEPARATORS = (",", ";", "\t", "|")
"""What may stand between the values of a line: the one that is in the first line most often."""
THOUSANDS = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?$"
"""A number with points between thousands."""
QUOTED = re.compile(r'(?:^|(?<=[,;\t|]))"[^"]*"')
"""A value in quotes, where one can begin."""
NO_VALUE = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "NaT", "#N/A", "<NA>", "?")
"""Texts that stand for a missing value, without the spaces around them."""
DecimalMark = Literal[".", ","]
"""What stands before the decimals of a number in text."""
BLOCK = 4 << 20
"""Bytes of a CSV file that are read at once."""
ROWS = 16_384
"""Rows of a Parquet file that are read at once."""
Batch = dict[str, Any]
"""Arrow arrays of the same rows, by the names of their columns."""


class TablePart(Protocol):
    """One file of a table."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def names(self) -> list[str]:
        """Names of its columns."""

    @property
    def decimal(self) -> DecimalMark:
        """What stands before the decimals of numbers in text."""

    @property
    def index(self) -> list[str]:
        """Columns that hold the index of a pandas table, which are not among the names."""

    def batches(self, names: Sequence[str]) -> Iterator[Batch]:
        """The rows in order, so many at a time; of these columns, which the file has."""


def is_table(path: Path) -> bool:
    """Whether a path is a file of a table by its ending, or a folder that holds one.

    Example:
        >>> is_table(Path("wine.CSV.gz")), is_table(Path("x.npy"))
        (True, False)
    """
    if path.is_dir():
        return any(_is_data(file.relative_to(path)) for file in path.rglob("*"))
    return path.name.lower().endswith(ENDINGS)


def open_table(root: Path, setting: str = "data.root", *, decimal: DecimalMark = ".") -> list[TablePart]:
    """The files of a table, in the order of their paths; those of a folder are all CSV or all Parquet.

    Args:
        root: A CSV or Parquet file, or a folder of them, whose sub-folders may name partition keys.
        setting: What names it, for messages.
        decimal: What stands before the decimals of numbers in text.

    Raises:
        ConfigError: If pyarrow is missing, or ``decimal`` is another mark.
        DataError: If there is no such file, or it cannot be read.
    """
    check_pyarrow()
    if decimal not in get_args(DecimalMark):
        raise ConfigError(f"data.decimal must be '.' or ',', but is {decimal!r}. Leave it out for points.")
    if not root.exists():
        raise DataError(f"{setting} names {root}, which does not exist. Name a CSV or Parquet file, or a folder.")
    paths = [root] if root.is_file() else sorted(p for p in root.rglob("*") if _is_data(p.relative_to(root)))
    if not paths:
        raise DataError(f"{root} holds no file that ends in {', '.join(IN_FOLDERS)}. Name another by {setting}.")
    is_csv = {_is_csv(path) for path in paths}
    if len(is_csv) > 1:
        raise DataError(f"{root} holds CSV and Parquet files. Name a folder with one kind, or a file, by {setting}.")
    if root.is_file() and not is_table(root):
        raise DataError(f"{root} must end in {', '.join(ENDINGS)}, or be a folder. Rename it, or name another.")
    if is_csv.pop():
        return [CsvFile.read(path, decimal) for path in paths]
    return [ParquetPart(file, decimal) for file in read_files(root, paths)]


def other_files(root: Path) -> list[Path]:
    """The files of a folder that are not those of a table, in the order of their paths; none of a single file.

    Example:
        >>> other_files(Path("wine.csv"))
        []
    """
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not _is_data(path.relative_to(root))]


def check_pyarrow() -> None:
    """Raise a ConfigError if pyarrow, which reads tables, is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError("tables need pyarrow. Install it by pip install 'aepretrain[table]'.") from error


def _is_csv(path: Path) -> bool:
    return not path.name.lower().endswith(".parquet")


def _is_data(path: Path) -> bool:
    return path.name.lower().endswith(IN_FOLDERS) and not any(part.startswith(NOT_DATA) for part in path.parts)


@dataclass(frozen=True)
class CsvFile:
    """A file of lines, the first of which names the columns; all values are read as text.

    Args:
        path: The file.
        written: Names of the columns as they stand in the file.
        separator: What stands between values.
        decimal: What stands before the decimals of numbers.
    """

    path: Path
    written: tuple[str, ...]
    separator: str
    decimal: DecimalMark = "."

    @classmethod
    def read(cls, path: Path, decimal: DecimalMark = ".") -> "CsvFile":
        """The columns of a file.

        Raises:
            DataError: If it cannot be read, or the first line does not name the columns.
        """
        separator = _separator(path)
        with _csv_reader(path, separator) as reader:
            names = tuple(reader.schema.names)
        stripped = [name.strip() for name in names]
        for place, name in enumerate(stripped):
            if name in stripped[:place]:
                raise DataError(
                    f"{path}: the first line must name every column once, but column {place} is called {name!r} as one "
                    "before it. Mend the line."
                )
        if all(is_number(name) for name in stripped):
            raise DataError(
                f"{path}: the first line must name the columns, but holds numbers: {', '.join(stripped[:5])}. Add a "
                "line of names."
            )
        return cls(path, names, separator, decimal)

    @property
    def names(self) -> list[str]:
        return [name.strip() for name in self.written]

    @property
    def index(self) -> list[str]:
        return []

    def batches(self, names: Sequence[str]) -> Iterator[Batch]:
        chosen = [self.written[self.names.index(name)] for name in names]
        with _csv_reader(self.path, self.separator, chosen) as reader:
            while (batch := _next_batch(reader, self.path)) is not None:
                yield {
                    name: plain(batch.column(k), self.decimal, _place(self.path, name)) for k, name in enumerate(names)
                }


@dataclass(frozen=True)
class ParquetPart:
    """A Parquet file, with the partition keys in the names of its folders as further columns.

    Args:
        file: The file.
        decimal: What stands before the decimals of numbers in text.
    """

    file: TableFile
    decimal: DecimalMark = "."

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def names(self) -> list[str]:
        return self.file.names

    @property
    def index(self) -> list[str]:
        return self.file.index_columns()

    def batches(self, names: Sequence[str]) -> Iterator[Batch]:
        import pyarrow

        own = [name for name in names if name in self.file.schema.names]
        keys = {name: self.file.keys[name] for name in names if name not in own}
        for batch in read_batches(self.path, ROWS, own):
            found = {name: plain(batch.column(name), self.decimal, _place(self.path, name)) for name in own}
            found |= {name: pyarrow.array([value] * len(batch)) for name, value in keys.items()}
            yield {name: found[name] for name in names}


def plain(values: Any, decimal: DecimalMark = ".", place: str = "a column") -> Any:
    """An Arrow array as text, numbers, booleans, dates or times, in which what stands for a missing value is null.

    Numbers in text have a decimal point, whatever the decimal mark was.

    Raises:
        DataError: If a number has a decimal point where commas are meant to be decimal; the message names the place.

    Example:
        >>> import pyarrow
        >>> plain(pyarrow.array([" a", "NA", ""]).dictionary_encode()).to_pylist()
        ['a', None, None]
        >>> plain(pyarrow.array([1.0, float("nan")])).to_pylist()
        [1.0, None]
    """
    import pyarrow
    import pyarrow.compute as compute
    from pyarrow import types

    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if types.is_null(values.type):
        return values.cast(pyarrow.string())
    if types.is_decimal(values.type) or types.is_float16(values.type):
        values = values.cast(pyarrow.float64())
    if types.is_floating(values.type):
        return compute.if_else(compute.is_nan(values), None, values)
    if types.is_large_string(values.type) or types.is_string_view(values.type) or types.is_binary(values.type):
        values = values.cast(pyarrow.string())
    if not types.is_string(values.type):
        return values
    values = compute.utf8_trim_whitespace(values)
    if decimal == ",":
        if (found := with_decimal_point(values)) is not None:
            raise DataError(
                f"{place} holds {found!r} with a decimal point, but data.decimal is ','. Write its numbers with "
                "commas, or leave it out by data.drop."
            )
        values = with_points(values)
    return compute.if_else(compute.is_in(values, value_set=pyarrow.array(NO_VALUE)), None, values)


def with_decimal_point(values: Any) -> str | None:
    """The first text of an Arrow array that is a number with a decimal point, not with points between thousands.

    Example:
        >>> import pyarrow
        >>> with_decimal_point(pyarrow.array(["1.000", "a.b", "48.1"])), with_decimal_point(pyarrow.array(["1.000"]))
        ('48.1', None)
    """
    import pyarrow.compute as compute

    found = values.filter(compute.match_substring_regex(values, r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$"))
    found = found.filter(compute.invert(compute.match_substring_regex(found, THOUSANDS)))
    return found[0].as_py() if len(found) else None


def with_points(values: Any) -> Any:
    """Texts of an Arrow array in which numbers with a decimal comma have a point, and none between thousands.

    Example:
        >>> import pyarrow
        >>> with_points(pyarrow.array(["1,5", "-,2e3", "1.000,5", "a,b", None])).to_pylist()
        ['1.5', '-.2e3', '1000.5', 'a,b', None]
    """
    import pyarrow.compute as compute

    is_grouped = compute.match_substring_regex(values, THOUSANDS)
    values = compute.if_else(is_grouped, compute.replace_substring(values, ".", ""), values)
    return compute.replace_substring_regex(values, r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$", r"\1.\2")


def _place(path: Path, name: str) -> str:
    return f"{path}: column {name}"


def _separator(path: Path) -> str:
    """What stands between values in the first line of a file, but not in names within quotes."""
    try:
        with _stream(path) as stream:
            start = stream.read(1 << 16)
            line = QUOTED.sub("", start.decode(_encoding(start), "replace").lstrip("\ufeff")).split("\n", 1)[0]
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable_csv(path, error) from error
    return max(SEPARATORS, key=line.count)


def _encoding(start: bytes) -> str:
    """The encoding of a text that begins with these bytes: UTF-16 if it says so, as that of spreadsheets does."""
    return "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf8"


@contextmanager
def _stream(path: Path) -> Iterator[Any]:
    """The bytes of a file, unpacked."""
    import pyarrow

    with open_regular(path) as file, pyarrow.PythonFile(file, mode="r") as stream:
        yield pyarrow.CompressedInputStream(stream, "gzip") if path.suffix.lower() == ".gz" else stream


@contextmanager
def _csv_reader(path: Path, separator: str, names: Sequence[str] = ()) -> Iterator[Any]:
    """Pyarrow's reader of a file: of the named columns as text, or of all as they seem."""
    import pyarrow
    from pyarrow import csv

    convert = csv.ConvertOptions(
        include_columns=list(names), column_types=dict.fromkeys(names, pyarrow.string()), strings_can_be_null=False
    )
    try:
        with _stream(path) as stream:
            encoding = _encoding(stream.read(2))
        with _stream(path) as stream:
            yield csv.open_csv(
                stream,
                read_options=csv.ReadOptions(block_size=BLOCK, use_threads=False, encoding=encoding),
                parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
                convert_options=convert,
            )
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, AEPretrainError):
            raise
        raise _unreadable_csv(path, error) from error


def _next_batch(reader: Any, path: Path) -> Any:
    """The next rows of a file; ``None`` at its end."""
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable_csv(path, error) from error


def _unreadable_csv(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
    is_text = "UTF" in reason or isinstance(error, UnicodeDecodeError)
    way = "Mend the line" if "Expected" in reason else "Save it as UTF-8" if is_text else "Write it again"
    return DataError(f"{path} cannot be read as a table: {reason:.200}. {way}.")


def is_number(text: str) -> bool:
    """Whether a text is that of a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
