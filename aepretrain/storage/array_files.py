"""Atomic writes of arrays to ``.npz`` files."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.storage.files import write_atomically


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a compressed ``.npz`` file for ``numpy.load``.

    Raises:
        StorageError: If the file cannot be written; the previous one is kept.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "codes.npz"
        >>> write_arrays(path, {"codes": np.zeros((3, 2))})
        >>> np.load(path)["codes"].shape
        (3, 2)
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getbuffer())
