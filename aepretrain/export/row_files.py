"""Values of many rows, written piece by piece to ``.npy``, ``.npz``, ``.parquet`` or ``.csv``."""

import csv
import itertools
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aepretrain.errors import ConfigError
from aepretrain.storage.files import make_folder, storing
from aepretrain.storage.guard import open_part

FORMATS = (".npy", ".npz", ".parquet", ".csv")
Piece = Mapping[str, NDArray[Any]]
"""Values of the same rows by name: each of shape ``(n, ...)``."""


def write_rows(path: Path, pieces: Iterable[Piece], count: int, names: Mapping[str, Sequence[str]] = {}) -> None:
    """Write the values of all rows to one file, whose ending names the format. Memory holds one piece at a time.

    ``.npz`` has an array for each name, ``.npy`` the only one. Tables (``.parquet``, ``.csv``) have a column for a
    value of each row, and one for each element of a vector.

    Args:
        path: The file; an existing one is replaced once the new one is complete.
        pieces: Values of consecutive rows.
        count: Number of all rows.
        names: Column names of the elements of a vector, by its name, of which equal ones are numbered; else all are.

    Raises:
        ConfigError: If the ending names no format, a ``.npy`` file would have to hold several arrays, or pyarrow is
            missing.
        StorageError: If the file cannot be written; a previous file is kept.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "codes.npz"
        >>> write_rows(path, [{"codes": np.zeros((2, 3))}, {"codes": np.ones((1, 3))}], 3)
        >>> np.load(path)["codes"].shape
        (3, 3)
    """
    check_format(path)
    make_folder(path.parent)
    names = {name: distinct(columns) for name, columns in names.items()}
    with storing(path, 0):
        part, file = open_part(path)
        try:
            file.close()
            with WRITERS[path.suffix](part, count, names) as writer:
                for piece in pieces:
                    writer.write(piece)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def distinct(names: Sequence[str]) -> list[str]:
    """Names of which no two are equal: those that occurred before have a number.

    Example:
        >>> distinct(["kind=other", "mass", "kind=other"])
        ['kind=other', 'mass', 'kind=other (2)']
    """
    found: dict[str, None] = {}
    for name in names:
        own = (each for each in itertools.chain([name], _numbered(name)) if each not in found)
        found[next(own)] = None
    return list(found)


def _numbered(name: str) -> Iterator[str]:
    return (f"{name} ({k})" for k in itertools.count(2))


def check_format(path: Path) -> None:
    """Raise a ConfigError unless the ending of a file names a format that can be written here."""
    if path.suffix not in WRITERS:
        raise ConfigError(f"--out must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, but is {path}. Rename it.")
    if path.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "a .parquet file needs pyarrow: pip install 'aepretrain[table]', or write .npz or .csv."
            ) from error


class RowWriter(Protocol):
    """Takes the rows of a file piece by piece."""

    def write(self, piece: Piece) -> None:
        """Append the rows of a piece."""


class _Array:
    """A ``.npy`` file that grows."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count, self.file = path, count, path.open("wb")

    def append(self, values: NDArray[Any]) -> None:
        if not self.file.tell():
            header = {"descr": values.dtype.str, "fortran_order": False, "shape": (self.count, *values.shape[1:])}
            np.lib.format.write_array_header_1_0(self.file, header)
        self.file.write(np.ascontiguousarray(values).data)


@contextmanager
def _npy(path: Path, count: int, names: Mapping[str, Sequence[str]]) -> Iterator[RowWriter]:
    array = _Array(path, count)

    class Writer:
        def write(self, piece: Piece) -> None:
            if len(piece) > 1:
                raise ConfigError(f"a .npy file holds one array, but {', '.join(piece)} are asked for. Write .npz.")
            array.append(*piece.values())

    with array.file:
        yield Writer()


@contextmanager
def _npz(path: Path, count: int, names: Mapping[str, Sequence[str]]) -> Iterator[RowWriter]:
    arrays: dict[str, _Array] = {}

    class Writer:
        def write(self, piece: Piece) -> None:
            for name, values in piece.items():
                if name not in arrays:
                    arrays[name] = _Array(path.with_name(f"{path.name}.{name}"), count)
                arrays[name].append(values)

    with ExitStack() as files:
        files.callback(_remove, arrays)
        yield Writer()
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            for name, array in arrays.items():
                array.file.close()
                with array.path.open("rb") as read, archive.open(f"{name}.npy", "w", force_zip64=True) as written:
                    shutil.copyfileobj(read, written)


def _remove(arrays: Mapping[str, _Array]) -> None:
    for array in arrays.values():
        array.file.close()
        array.path.unlink(missing_ok=True)


@contextmanager
def _csv(path: Path, count: int, names: Mapping[str, Sequence[str]]) -> Iterator[RowWriter]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)

        class Writer:
            def write(self, piece: Piece) -> None:
                columns = table_columns(piece, names)
                if not file.tell():
                    writer.writerow(columns)
                writer.writerows(zip(*map(_texts, columns.values()), strict=True))

        yield Writer()


def _texts(values: NDArray[Any]) -> list[Any]:
    """Values as text with as few digits as tell a float32 from its neighbours."""
    return (values.astype(str) if values.dtype.kind == "f" else values).tolist()


@contextmanager
def _parquet(path: Path, count: int, names: Mapping[str, Sequence[str]]) -> Iterator[RowWriter]:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    with ExitStack() as files:
        opened: list[ParquetWriter] = []

        class Writer:
            def write(self, piece: Piece) -> None:
                table = pyarrow.table({name: pyarrow.array(v) for name, v in table_columns(piece, names).items()})
                if not opened:
                    opened.append(files.enter_context(ParquetWriter(path, table.schema)))
                opened[0].write_table(table)

        yield Writer()


def table_columns(piece: Piece, names: Mapping[str, Sequence[str]]) -> dict[str, NDArray[Any]]:
    """The columns of a table: one for a value of each row, and one for each element of a vector.

    Args:
        piece: Values by name, each of shape ``(n, ...)``.
        names: Column names of the elements of a vector, by its name; else they are numbered.

    Example:
        >>> list(table_columns({"codes": np.zeros((2, 2)), "error": np.zeros(2)}, {}))
        ['codes_0', 'codes_1', 'error']
    """
    columns: dict[str, NDArray[Any]] = {}
    for name, values in piece.items():
        if values.ndim == 1:
            columns[name] = values
            continue
        flat = values.reshape(len(values), -1)
        own = names.get(name) or [f"{name}_{number}" for number in range(flat.shape[1])]
        columns |= {column: np.ascontiguousarray(flat[:, number]) for number, column in enumerate(own)}
    return columns


WRITERS = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".csv": _csv}
"""What writes a file, by its ending."""
