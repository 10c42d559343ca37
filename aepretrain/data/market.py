"""Sparse matrices in the Matrix Market format: text with a line for each stored value.

SciPy's own reader (1.17) writes beyond its arrays where a file is damaged, so the format is read here.
"""

import gzip
import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from aepretrain.storage.guard import open_regular

FIELDS = {"real": np.float64, "double": np.float64, "integer": np.int64, "pattern": np.float64, "complex": complex}
"""Type of the values by their name; those of a pattern are 1 and not in the file."""
MIRRORED = {"symmetric": 1, "skew-symmetric": -1}
"""The factor of the value at (j, i) where only (i, j) is in the file."""
LINES = 1 << 16
"""Lines that are parsed at once."""
LONGEST = 1 << 16
"""Maximum number of bytes in a line."""


class MarketHeader(NamedTuple):
    """What a file says of its matrix.

    Args:
        shape: Number of rows and columns.
        entries: Number of lines of values.
        dtype: Type of the values.
        has_values: Whether lines have a value beside row and column.
        symmetry: ``general``, or a key of :data:`MIRRORED`.
    """

    shape: tuple[int, int]
    entries: int
    dtype: np.dtype
    has_values: bool
    symmetry: str


def read_market(path: Path, check: Callable[[tuple[int, int], np.dtype, int], None]) -> scipy.sparse.coo_array:
    r"""Read a matrix of coordinates from a regular file, ``.gz`` or not.

    Args:
        path: The file.
        check: Called with shape, type and number of values before memory is taken for them; it raises if they are too
            many.

    Raises:
        OSError: If it cannot be read, or is not a regular file.
        ValueError: If it is not a Matrix Market file of coordinates, or does not hold what its header says.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "x.mtx"
        >>> path.write_text("%%MatrixMarket matrix coordinate real general\n2 3 1\n2 1 0.5\n")
        60
        >>> read_market(path, lambda shape, dtype, count: None).toarray().tolist()
        [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]]
    """
    is_packed = path.name.lower().endswith(".gz")
    with io.BufferedReader(open_regular(path)) as file, gzip.GzipFile(fileobj=file) if is_packed else file as text:
        lines = _lines(text)
        header = _read_header(lines)
        check(header.shape, header.dtype, header.entries * (1 if header.symmetry == "general" else 2))
        return _read_entries(lines, header)


def _lines(file: io.BufferedIOBase) -> Iterator[str]:
    """The lines, of bounded length: without an end of line, all of a file would be held in memory."""
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise ValueError(f"a line has more than {LONGEST:,} bytes")
        yield line.decode("ascii", errors="replace")


def _read_header(lines: Iterator[str]) -> MarketHeader:
    words = next(lines, "").lower().split()
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise ValueError("its first line must be '%%MatrixMarket matrix coordinate real general' or the like")
    layout, field, symmetry = words[2:]
    if layout != "coordinate" or field not in FIELDS or (symmetry != "general" and symmetry not in MIRRORED):
        raise ValueError(
            "it must hold coordinates (real, integer or pattern; general or symmetric), but holds "
            f"{' '.join(words[2:])!r:.60}"
        )
    sizes = next(_values(lines), "").split()
    if len(sizes) != 3 or not all(size.isdecimal() and len(size) < 20 for size in sizes):
        raise ValueError("the line of sizes must hold the numbers of rows, columns and entries")
    rows, columns, entries = map(int, sizes)
    if symmetry in MIRRORED and rows != columns:
        raise ValueError(f"a {symmetry} matrix must be square, but has {rows} rows and {columns} columns")
    return MarketHeader((rows, columns), entries, np.dtype(FIELDS[field]), field != "pattern", symmetry)


def _values(lines: Iterator[str]) -> Iterator[str]:
    """The lines that are neither empty nor comments."""
    return (line for line in lines if line.strip() and not line.startswith("%"))


def _read_entries(lines: Iterator[str], header: MarketHeader) -> scipy.sparse.coo_array:
    places = np.empty((2, header.entries), np.int64)
    values, done = np.ones(header.entries, header.dtype), 0
    content = _values(lines)
    while piece := list(islice(content, LINES)):
        found = np.loadtxt(piece, np.float64, ndmin=2)
        end = done + len(found)
        if found.shape[1] != 2 + header.has_values or end > header.entries:
            raise ValueError(
                f"it must have {header.entries:,} lines of {2 + header.has_values} numbers, but has others"
            )
        places[:, done:end] = _places(found[:, :2], header.shape, done).T
        if header.has_values:
            values[done:end] = _numbers(found[:, 2], header.dtype, done)
        done = end
    if done < header.entries:
        raise ValueError(f"it ends after {done:,} of {header.entries:,} entries")
    if header.symmetry in MIRRORED:
        others = places[0] != places[1]
        values = np.concatenate([values, MIRRORED[header.symmetry] * values[others]])
        places = np.concatenate([places, places[::-1, others]], axis=1)
    return scipy.sparse.coo_array((values, tuple(places)), shape=header.shape)


def _numbers(found: NDArray[np.float64], dtype: np.dtype, first: int) -> NDArray[np.float64]:
    """The values, shape ``(n,)``, which must be whole where the header says so."""
    if dtype.kind != "i":
        return found
    is_right = (np.abs(found) < 2**63) & (found == np.floor(found))
    if not is_right.all():
        wrong = int(is_right.argmin())
        raise ValueError(f"entry {first + wrong + 1:,} must be a whole number of 64 bits, but is {found[wrong]:g}")
    return found


def _places(found: NDArray[np.float64], shape: tuple[int, int], first: int) -> NDArray[Any]:
    """Rows and columns from 0, shape ``(n, 2)``."""
    is_right = ((found >= 1) & (found <= np.array(shape)) & (found == np.floor(found))).all(axis=1)
    if not is_right.all():
        wrong = int(is_right.argmin())
        row, column = found[wrong].tolist()
        raise ValueError(f"entry {first + wrong + 1:,} is at row {row:g}, column {column:g}, out of bounds of {shape}")
    return found.astype(np.int64) - 1
