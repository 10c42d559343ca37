"""Reading and atomic writing of arrays in ``.npz`` files."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.errors import AEPretrainError, StorageError
from aepretrain.storage.files import write_atomically
from aepretrain.storage.guard import open_regular
from aepretrain.storage.json_files import reason_of

Array = NDArray[Any]
"""Values of any type in an array."""
LARGEST = 8 << 30
"""Maximum size in bytes of all arrays of a file."""
UNNEEDED = "Remove it to have the report without it."
"""The way out for files that only a report needs."""


class SizeError(ValueError):
    """The arrays of a file are larger than is allowed."""


def are_finite_numbers(values: Array) -> bool:
    """Whether all values are real numbers, neither NaN nor infinite.

    Example:
        >>> are_finite_numbers(np.ones(3)), are_finite_numbers(np.array([np.nan])), are_finite_numbers(np.array(["a"]))
        (True, False, False)
    """
    return values.dtype.kind in "iuf" and bool(np.isfinite(values).all())


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a compressed ``.npz`` file for ``numpy.load``.

    Raises:
        StorageError: If the file cannot be written; the previous one is kept.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "codes.npz"
        >>> write_arrays(path, {"codes": np.zeros((3, 2))})
        >>> read_arrays(path)["codes"].shape
        (3, 2)
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def read_arrays(path: Path, way_out: str = UNNEEDED) -> dict[str, NDArray[Any]]:
    """Read the arrays of an ``.npz`` file, without unpickling; empty if it is missing.

    Args:
        path: The file.
        way_out: What to do if it is damaged, the end of the message.

    Raises:
        StorageError: If the file is damaged, or its arrays are too large.
    """
    if not path.is_file():
        return {}
    try:
        return unpack_arrays(path, LARGEST)
    except AEPretrainError:
        raise
    # A damaged file makes zipfile and NumPy raise nearly everything: zlib's and struct's errors, EOFError, KeyError.
    except Exception as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. {way_out}") from error


def unpack_arrays(path: Path, most: int) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file by name, without unpickling.

    Args:
        path: The file.
        most: Maximum size in bytes of all arrays together.

    Raises:
        SizeError: If the arrays are larger.
        Exception: Of nearly any class, if the file is damaged.
    """
    with io.BufferedReader(open_regular(path)) as file, zipfile.ZipFile(file) as members:
        size = sum(member.file_size for member in members.infolist())
        if size > most:
            raise SizeError(f"its arrays have {size:,} bytes, and at most {most:,} are read")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return {name: array for name in arrays.files if isinstance(array := arrays[name], np.ndarray)}


def array_names(path: Path) -> list[str]:
    """The names of the arrays of an ``.npz`` file, which are not unpacked.

    Raises:
        Exception: Of nearly any class, if the file is damaged.
    """
    with io.BufferedReader(open_regular(path)) as file, zipfile.ZipFile(file) as members:
        return [name.removesuffix(".npy") for name in members.namelist()]
