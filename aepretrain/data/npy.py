"""NumPy's file format, read without unpickling."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aepretrain.errors import DataError


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
            with path.open("rb") as file:
                versions = {(1, 0): np.lib.format.read_array_header_1_0}
                read = versions.get(np.lib.format.read_magic(file), np.lib.format.read_array_header_2_0)
                shape, fortran, dtype = read(file)
                offset = file.tell()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}. Name a .npy file.") from error
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path} is no .npy file: {reason}. Write it with np.save(path, array).") from error
        if dtype.hasobject:
            raise DataError(f"{path} holds pickled objects, which may run code. Save an array of numbers by np.save.")
        if fortran and len(shape) > 1:
            raise DataError(
                f"{path} is stored column by column. Save it row by row: np.save(path, np.ascontiguousarray(array))."
            )
        needed, size = offset + int(np.prod(shape, dtype=object)) * dtype.itemsize, path.stat().st_size
        if size < needed:
            raise DataError(f"{path} is truncated: {needed:,} bytes are needed, but it has {size:,}. Write it again.")
        return cls(path, shape, dtype, offset)


def read_labels(path: str | Path) -> Tensor:
    """The labels in a ``.npy`` file, shape ``(N,)``: integers as int64, other numbers as float32.

    Raises:
        DataError: If the file cannot be read as an array of numbers.
    """
    header = NpyHeader.read(path)
    if header.dtype.kind not in "iufb":
        raise DataError(f"{header.path}: labels must be whole numbers, but are {header.dtype}. Number the classes.")
    y = np.load(header.path, allow_pickle=False)
    if header.dtype.kind in "iu":
        return torch.from_numpy(y.astype(np.int64))
    return torch.from_numpy(y.astype(np.float32))
