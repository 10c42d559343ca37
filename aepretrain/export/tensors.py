"""Reading of tensors that must be those of a known module."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from aepretrain.errors import StorageError
from aepretrain.storage.guard import read_bytes
from aepretrain.storage.json_files import reason_of

HEADER = 100 << 20
"""Maximum size in bytes of what a file of weights holds beside them."""


def read_tensors(path: Path, expected: Mapping[str, Tensor]) -> tuple[bytes, dict[str, Tensor]]:
    """Read a safetensors file: its bytes, and its tensors by name.

    Args:
        path: The file.
        expected: Tensors of the names, shapes and types that the file must hold; they may be on the meta device.

    Raises:
        StorageError: If it cannot be read, or a tensor is missing, unexpected, or of another shape or type.
    """
    try:
        weights = read_bytes(path, sum(tensor.nbytes for tensor in expected.values()) + HEADER)
        tensors = safetensors.torch.load(weights)
    # A type that torch has no name for is a KeyError.
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. Copy the folder again from its run.") from error
    _check_tensors(expected, tensors, path)
    return weights, tensors


def _check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            place = "missing from" if name not in found else "unexpected in"
            raise StorageError(f"{path}: the tensor {name} is {place} the file. It belongs to another architecture.")
        ours, theirs = expected[name], found[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise StorageError(
                f"{path}: the tensor {name} must be {tuple(ours.shape)} {ours.dtype}, but is {tuple(theirs.shape)} "
                f"{theirs.dtype}. It belongs to another architecture."
            )
