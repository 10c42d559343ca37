"""The Parquet files of a folder: which are read, their columns, rows and partition keys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aepretrain.errors import ConfigError, DataError

NOT_DATA = (".", "_", "~")
"""What names of hidden, temporary and marker files begin with, as Spark, pyarrow and editors write them."""


@dataclass(frozen=True)
class TableFile:
    """One Parquet file of a table.

    Args:
        path: The file.
        rows: Number of its rows.
        schema: Its columns, as pyarrow's schema.
        keys: Partition keys from the names of its folders, such as ``{"year": 2025}``.
    """

    path: Path
    rows: int
    schema: Any
    keys: dict[str, Any]

    def check_has(self, name: str, others: Sequence[str] = (), setting: str = "data.columns") -> None:
        """Raise a DataError unless the file has the column, or it is a partition key."""
        if name not in self.schema.names and name not in self.keys:
            found = ", ".join(self.schema.names[:20]) + (", …" if len(self.schema.names) > 20 else "")
            having = f" {others[0]} has it." if others else ""
            raise DataError(
                f"{self.path} has no column {name!r}. It has {found}.{having} Add the column to the file, or name "
                f"another by {setting}."
            )

    @property
    def names(self) -> list[str]:
        """Its columns without the index of a pandas table, then its partition keys."""
        index = self.index_columns()
        own = [name for name in self.schema.names if name not in index]
        return [*own, *(key for key in self.keys if key not in own)]

    def index_columns(self) -> list[str]:
        """Columns that hold the index of a pandas table, which numbers or names the rows."""
        described = (self.schema.pandas_metadata or {}).get("index_columns", [])
        named = [name for name in described if isinstance(name, str)]
        return [name for name in self.schema.names if name in named or name.startswith("__index_level_")]


def find_files(root: Path) -> tuple[list[Path], list[Path]]:
    """The Parquet files of a folder and its sub-folders in the order of their paths, and the files left out.

    Raises:
        DataError: If there is no Parquet file.
    """
    if root.is_file():
        return [root], []
    files = sorted(path for path in root.rglob("*") if path.is_file())
    left_out = [path for path in files if not _is_data(path.relative_to(root))]
    found = [path for path in files if path not in set(left_out)]
    if not found:
        raise DataError(f"{root} holds no .parquet files. Name a folder that does, or one file, by --data.root.")
    return found, left_out


def _is_data(path: Path) -> bool:
    return path.suffix.lower() == ".parquet" and not any(part.startswith(NOT_DATA) for part in path.parts)


def read_files(root: Path, paths: Sequence[Path]) -> list[TableFile]:
    """The metadata of all files.

    Raises:
        ConfigError: If pyarrow is missing.
        DataError: If a file is damaged.
    """
    facts = [_rows_and_schema(path) for path in paths]
    keys = _partition_keys(root, paths)
    return [TableFile(path, *fact, each) for path, fact, each in zip(paths, facts, keys, strict=True)]


def _rows_and_schema(path: Path) -> tuple[int, Any]:
    with open_file(path) as file:  # closed again: a folder may hold more files than may be open
        return file.metadata.num_rows, file.schema_arrow


def open_file(path: Path) -> Any:
    """A Parquet file.

    Raises:
        ConfigError: If pyarrow is missing.
        DataError: If the file is damaged.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet files need pyarrow. Install it by pip install 'aepretrain[table]'.") from error
    try:
        # By default, all row groups of a file that is read from end to end are held in memory.
        return pyarrow.parquet.ParquetFile(path, pre_buffer=False)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def read_batches(path: Path, rows: int, names: Sequence[str]) -> Iterator[Any]:
    """The rows of a Parquet file as Arrow batches of some columns, so many rows at a time.

    Raises:
        ConfigError: If pyarrow is missing.
        DataError: If the file is damaged.
    """
    batches = open_file(path).iter_batches(rows, columns=list(names), use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        if batch is None:
            return
        yield batch


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that pyarrow cannot read."""
    if "magic bytes" in str(error):
        way = "Write one in Python: table.to_parquet('table.parquet')."
        if path.suffix.lower() in (".csv", ".txt", ".tsv"):
            way = f"Name it by --data Table --data.root {path}."
        return DataError(f"{path} is no Parquet file, or a damaged one. {way}")
    return DataError(f"{path} cannot be read: {' '.join(str(error).split()).rstrip('.')}. Write it again.")


def _partition_keys(root: Path, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """For each file, the partition keys in the names of its folders (``year=2025``): numbers where all of a key are."""
    folders = [() if path == root else path.relative_to(root).parts[:-1] for path in paths]
    names = sorted({part.split("=", 1)[0] for parts in folders for part in parts if "=" in part})
    if not names:
        return [{} for _ in paths]
    import pyarrow
    import pyarrow.dataset

    hive = pyarrow.dataset.HivePartitioning(pyarrow.schema([(name, pyarrow.string()) for name in names]))
    texts = [pyarrow.dataset.get_partition_keys(hive.parse("/".join((*parts, "file")))) for parts in folders]
    keys: list[dict[str, Any]] = [dict.fromkeys(names) | text for text in texts]
    for name in names:
        numbers = [_number(each[name]) for each in keys]
        if None not in numbers:
            for each, number in zip(keys, numbers, strict=True):
                each[name] = number
    return keys


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return None
