"""NumPy's file format, read without unpickling."""

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.errors import DataError
from aepretrain.storage.guard import open_regular
from aepretrain.storage.json_files import reason_of

WRITE = "Write it with np.save(path, array)."


@dataclass(frozen=True)
class NpyHeader:
    """The header of a ``.npy`` file.

    Args:
        path: The file.
        shape: Shape of the array.
        dtype: Type of its values.
        offset: Offset of its values, in bytes.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int

    @classmethod
    def read(cls, path: str | Path) -> "NpyHeader":
        """Read the header of a file that holds a complete array of numbers.

        Raises:
            DataError: If the file is missing, not a ``.npy`` file, truncated, or holds pickled objects.
        """
        path = Path(path).expanduser()
        try:
            with open_regular(path) as file:
                size = os.fstat(file.fileno()).st_size
                versions = {(1, 0): np.lib.format.read_array_header_1_0}
                read = versions.get(np.lib.format.read_magic(file), np.lib.format.read_array_header_2_0)
                shape, fortran, dtype = read(file)
                offset = file.tell()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {reason_of(error)}. Name a .npy file.") from error
        # NumPy parses the header as Python, whose parser raises nearly everything: TypeError, RecursionError, KeyError.
        except Exception as error:
            raise DataError(f"{path} is no .npy file: {reason_of(error)}. {WRITE}") from error
        if any(type(length) is not int or length < 0 for length in shape):
            raise DataError(f"{path} is no .npy file: its shape is {shape!s:.40}. {WRITE}")
        if dtype.hasobject:
            raise DataError(f"{path} holds pickled objects, which may run code. Save an array of numbers by np.save.")
        if fortran and len(shape) > 1:
            raise DataError(
                f"{path} is stored column by column. Save it row by row: np.save(path, np.ascontiguousarray(array))."
            )
        needed = offset + math.prod(shape) * dtype.itemsize
        if size < needed:
            raise DataError(f"{path} is truncated: {needed:,} bytes are needed, but it has {size:,}. Write it again.")
        return cls(path, shape, dtype, offset)


def read_labels(path: str | Path) -> NDArray[Any]:
    """The labels in a ``.npy`` file as they are: numbers, booleans or text, in any shape.

    Raises:
        DataError: If the file cannot be read as an array.
    """
    header = NpyHeader.read(path)
    try:
        with io.BufferedReader(open_regular(header.path)) as file:
            return np.load(file, allow_pickle=False)
    except (OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} cannot be read: {reason_of(error)}. {WRITE}") from error
