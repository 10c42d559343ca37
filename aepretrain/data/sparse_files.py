"""Sparse matrices in files: SciPy's ``.npz`` and Matrix Market, read without unpickling into bounded memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from aepretrain.data.budget import format_bytes
from aepretrain.data.float32 import check_real
from aepretrain.data.market import read_market
from aepretrain.data.origin import Origin, listed
from aepretrain.data.paths import user_path
from aepretrain.data.sparse import SparseRows, check_fits_float32
from aepretrain.data.stored import TYPES
from aepretrain.errors import DataError
from aepretrain.storage.array_files import SizeError, array_names, unpack_arrays
from aepretrain.storage.json_files import reason_of

MARKET = (".mtx", ".mtx.gz")
MOST_COLUMNS = 1 << 24
"""Maximum number of columns: a dense row then takes 64 MiB."""
INDEX = 24
"""Bytes that a stored value may need beside itself while the matrix is brought into the order of rows."""
MORE_ROOM = "A sparse matrix stays in memory: save fewer rows, or raise data.memory_budget where it is set."
PARTS = {
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
    "bsr": ("data", "indices", "indptr"),
    "dia": ("data", "offsets"),
    "coo": ("data", "row", "col"),
}
"""The arrays of each format in a file of :func:`scipy.sparse.save_npz`."""
Parts = Mapping[str, NDArray[Any]]


def is_sparse(path: str | Path) -> bool:
    """Whether a path is a file of a sparse matrix by its ending.

    Example:
        >>> is_sparse("words.npz"), is_sparse("words.MTX.gz"), is_sparse("x.npy")
        (True, True, False)
    """
    return str(path).lower().endswith((".npz", *MARKET))


def is_array(path: Path) -> bool:
    """Whether a path is a file of an array of inputs, dense or sparse, by its ending."""
    return path.suffix.lower() == ".npy" or is_sparse(path)


@dataclass(frozen=True)
class SparseFile:
    """A sparse matrix that was read from a file; it stays compressed in memory.

    Args:
        path: The file.
        matrix: Shape ``(N, D)``, each place once, in the type of the file.
    """

    path: Path
    matrix: scipy.sparse.csr_array

    @classmethod
    def read(cls, path: str | Path, most: int) -> "SparseFile":
        """Read a file by its ending, ``.npz`` of SciPy, or Matrix Market.

        Args:
            path: The file.
            most: Maximum size in bytes of the compressed matrix and of what is needed to bring it into order.

        Raises:
            DataError: If the file is missing, damaged, too large, or holds something else than one matrix of real
                numbers.

        Example:
            >>> from tempfile import mkdtemp
            >>> path = Path(mkdtemp()) / "x.npz"
            >>> scipy.sparse.save_npz(path, scipy.sparse.csc_array(np.eye(3)))
            >>> SparseFile.read(path, most=10_000).shape
            (3, 3)
        """
        path = user_path(path)
        read = _read_market if path.name.lower().endswith(MARKET) else _read_npz
        try:
            matrix = read(path, most)
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist. Check the path: it must name a file of an array.") from error
        except DataError:
            raise
        except (SizeError, MemoryError) as error:
            raise DataError(f"{path} is too large: {reason_of(error)}. {MORE_ROOM}") from error
        # A damaged file makes zipfile, zlib, NumPy and SciPy raise nearly everything.
        except Exception as error:
            if isinstance(error, OSError) and error.errno:  # the system's own, not that of a damaged .gz
                raise DataError(f"{path} cannot be read: {reason_of(error)}. Name a file that can be read.") from error
            raise DataError(
                f"{path} holds no sparse matrix that can be read: {reason_of(error)}. Write it by "
                f"{'scipy.io.mmwrite' if read is _read_market else 'scipy.sparse.save_npz'}."
            ) from error
        return cls(path, matrix)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, D)``."""
        return tuple(self.matrix.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values in the file."""
        return self.matrix.dtype

    @property
    def nbytes(self) -> int:
        """Memory that the compressed matrix takes, in bytes."""
        return sum(part.nbytes for part in (self.matrix.data, self.matrix.indices, self.matrix.indptr))

    def rows(self) -> SparseRows:
        """The rows, made dense when they are read."""
        return SparseRows(self.path, self.matrix)

    def check_fits_float32(self, origin: Origin) -> None:
        """Raise a DataError if float32 cannot hold the values, or does not tell them apart."""
        check_fits_float32(self.matrix, origin)


def _read_npz(path: Path, most: int) -> scipy.sparse.csr_array:
    if "format" not in (names := array_names(path)):
        raise DataError(
            f"{path} holds no sparse matrix of SciPy, but the arrays {listed(names) or 'of nothing'}. Save the "
            f"inputs by np.save('x.npy', np.load('{path.name}')['{names[0] if names else 'NAME'}']), and name x.npy."
        )
    try:
        arrays = unpack_arrays(path, most)
    except MemoryError as error:  # what the archive holds fits: the header of an array claims more
        raise ValueError(reason_of(error)) from error
    kind = arrays["format"].item()
    kind = kind.decode("ascii") if isinstance(kind, bytes) else kind
    if kind not in PARTS:
        raise ValueError(f"its format is {kind!r:.40}, and must be one of {', '.join(PARTS)}")
    if missing := [name for name in (*PARTS[kind], "shape") if name not in arrays]:
        raise ValueError(f"the array {missing[0]} is missing")
    parts = {name: arrays[name] for name in PARTS[kind]}
    for name in PARTS[kind][1:]:
        if parts[name].dtype.kind not in "iu" or not parts[name].dtype.isnative:
            raise ValueError(f"its {name} must be whole numbers, but are {parts[name].dtype}")
    shape = arrays["shape"]
    if shape.shape != (2,) or shape.dtype.kind not in "iu":
        raise ValueError(f"its shape must be two whole numbers, but is {shape!s:.40}")
    rows, columns = shape.tolist()
    _check_size(path, (rows, columns), parts["data"].dtype, parts["data"].size, most)
    return _in_rows(FORMATS[kind](parts, (rows, columns)))


def _compressed(cls: type) -> Callable[[Parts, tuple[int, int]], Any]:
    """Builds a matrix of compressed rows, columns or blocks, and checks all its indices."""

    def build(parts: Parts, shape: tuple[int, int]) -> Any:
        matrix = cls((parts["data"], parts["indices"], parts["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
        return matrix

    return build


FORMATS: dict[str, Callable[[Parts, tuple[int, int]], Any]] = {
    "csr": _compressed(scipy.sparse.csr_array),
    "csc": _compressed(scipy.sparse.csc_array),
    "bsr": _compressed(scipy.sparse.bsr_array),
    "dia": lambda parts, shape: scipy.sparse.dia_array((parts["data"], parts["offsets"]), shape=shape),
    "coo": lambda parts, shape: scipy.sparse.coo_array((parts["data"], (parts["row"], parts["col"])), shape=shape),
}


def _check_size(path: Path, shape: tuple[int, int], dtype: np.dtype, count: int, most: int) -> None:
    """Raise a DataError unless so many values of this type, in a matrix of this shape, can be held."""
    check_real(dtype, Origin(str(path)))
    if dtype.name not in TYPES or not dtype.isnative or dtype == np.float16:
        raise DataError(f"{path}: values must be floats, whole numbers or booleans, but are {dtype}. Save float32.")
    if min(shape) < 0 or shape[1] > MOST_COLUMNS:
        raise DataError(
            f"{path}: a matrix may have up to {MOST_COLUMNS:,} columns, but its shape is {shape}. Choose "
            "columns, or hash them."
        )
    needed = count * (2 * dtype.itemsize + INDEX) + 8 * (shape[0] + 1)
    if needed > most:
        raise DataError(
            f"{path}: the matrix needs {format_bytes(needed)} in memory, and may take {format_bytes(most)}. {MORE_ROOM}"
        )


def _in_rows(matrix: Any) -> scipy.sparse.csr_array:
    """The matrix in the order of rows; values of one place are summed."""
    rows = scipy.sparse.csr_array(matrix)
    rows.sum_duplicates()
    return rows


def _read_market(path: Path, most: int) -> scipy.sparse.csr_array:
    return _in_rows(read_market(path, lambda shape, dtype, count: _check_size(path, shape, dtype, count, most)))
