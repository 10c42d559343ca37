"""NumPy's file format, read without unpickling."""

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.file_rows import RowFile
from aepretrain.data.float32 import check_digits, sampled_rows, sampled_within, to_float32
from aepretrain.data.origin import Origin
from aepretrain.data.paths import user_path
from aepretrain.data.rows import PIECE
from aepretrain.data.stored import TYPES
from aepretrain.errors import DataError
from aepretrain.storage.guard import open_regular
from aepretrain.storage.json_files import reason_of

WRITE = "Write it with np.save(path, array)."

EXACT_TYPES = ("float16", "float32", "uint8", "int8", "uint16", "int16", "bool")
"""Types whose values are exact in float32."""


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
        path = user_path(path)
        try:
            with open_regular(path) as file:
                size = os.fstat(file.fileno()).st_size
                versions = {(1, 0): np.lib.format.read_array_header_1_0}
                read = versions.get(np.lib.format.read_magic(file), np.lib.format.read_array_header_2_0)
                shape, fortran, dtype = read(file)
                offset = file.tell()
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist. Check the path: it must name a .npy file.") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {reason_of(error)}. Name a .npy file.") from error
        # NumPy parses the header as Python, whose parser raises nearly everything: TypeError, RecursionError, KeyError.
        except Exception as error:
            raise DataError(f"{path} is no .npy file. {_how_to_save(path)}") from error
        if any(type(length) is not int or length < 0 for length in shape):
            raise DataError(f"{path} is no .npy file: its shape is {shape!s:.40}. {_how_to_save(path)}")
        if dtype.hasobject:
            raise DataError(
                f"{path} holds pickled objects, which may run code. Save numbers, np.save('{path.name}', "
                "array.astype(np.float32)), or labels as text, array.astype(str)."
            )
        if fortran and len(shape) > 1:
            raise DataError(
                f"{path} is stored column by column. Save it row by row: np.save(path, np.ascontiguousarray(array))."
            )
        needed = offset + math.prod(shape) * dtype.itemsize
        if size < needed:
            raise DataError(f"{path} is truncated: {needed:,} bytes are needed, but it has {size:,}. Write it again.")
        return cls(path, shape, dtype, offset)

    def rows(self) -> RowFile:
        """The rows, which are read from the file when they are asked for."""
        return RowFile(self.path, tuple(self.shape[1:]), TYPES[self.dtype.name], self.offset)

    def check_fits_float32(self, origin: Origin) -> None:
        """Raise a DataError if float32 cannot hold the values, or does not tell them apart.

        Args:
            origin: Names rows and columns for the message.
        """
        if self.dtype.name in EXACT_TYPES:
            return
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        step, sampled, samples = max(1, PIECE // row_bytes), sampled_rows(self.shape[0]), []
        for first in range(0, self.shape[0], step):
            rows = min(step, self.shape[0] - first)
            place, count = self.offset + first * row_bytes, rows * math.prod(self.shape[1:])
            values = np.fromfile(self.path, self.dtype, count, offset=place).reshape(rows, *self.shape[1:])
            to_float32(values, origin, first)
            samples.append(values[sampled_within(sampled, first, rows)])
        check_digits(np.concatenate(samples), origin)


def _how_to_save(path: Path) -> str:
    """How to make a ``.npy`` file of another one, as a sentence."""
    if path.suffix.lower() in (".csv", ".txt", ".tsv"):
        comma = "" if path.suffix.lower() != ".csv" else ", delimiter=','"
        return f"Make it so in Python: np.save('x.npy', np.loadtxt('{path}'{comma}, dtype=np.float32))."
    if path.suffix.lower() == ".npz":
        return f"Make it so in Python: np.save('x.npy', np.load('{path.name}')['NAME'])."
    return "Write it in Python: np.save('x.npy', array)."


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
