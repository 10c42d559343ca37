"""The inputs of a layer: codes of the layers below, computed once, in memory if they fit, else in a file."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from aepretrain.console import print_line
from aepretrain.data.file_rows import FileRows, RowFile
from aepretrain.data.half_rows import HalfRows
from aepretrain.data.rows import Inputs, Rows, byte_view, digest_of
from aepretrain.errors import ConfigError
from aepretrain.layers.base import Layer
from aepretrain.pretraining.encoding import encode_batches, encode_dataset
from aepretrain.processes import is_first_process
from aepretrain.storage.files import make_folder, remove_parts, sha256_of, storing, write_atomically
from aepretrain.storage.guard import open_part
from aepretrain.storage.json_files import read_json
from aepretrain.training.context import RunContext
from aepretrain.training.options import CodeType

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LOCK = "codes.lock"


class MemoryBudget:
    """A memory budget for codes: a limit in bytes, and the bytes reserved so far.

    Args:
        limit: Limit in bytes; ``None``: no limit.

    Example:
        >>> budget = MemoryBudget(10)
        >>> budget.reserve(8), budget.reserve(4)
        (True, False)
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.reserved = 0

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes if they are left; return whether they were."""
        if self.limit is not None and self.reserved + size > self.limit:
            return False
        self.reserved += size
        return True

    def release(self, size: int) -> None:
        """Release ``size`` bytes."""
        self.reserved -= size

    @classmethod
    def remaining_after(cls, inputs: Sequence[Inputs], limit: int | None, read_ahead: int) -> "MemoryBudget":
        """The budget that remains after inputs held in memory and bytes for reading ahead."""
        if limit is None:
            return cls(None)
        return cls(limit - read_ahead - sum(x.nbytes for x in inputs if isinstance(x, Tensor)))


@dataclass(frozen=True)
class Finished:
    """A layer whose training has finished.

    Args:
        stage: Name of its stage.
        layer: The layer.
        device: Device on which its codes are computed.
        processes: Number of processes that request them.
    """

    stage: str
    layer: Layer
    device: str
    processes: int

    def key(self, inputs: str, dtype: torch.dtype) -> str:
        """Digest of all that determines the codes: inputs, modules, weights, dtype, device type and torch version."""
        digest = hashlib.sha256(f"{inputs} {self.layer.encoder} {dtype} {self.device.split(':')[0]}".encode())
        digest.update(str(torch.__version__).encode())
        for name, tensor in self.layer.encoder.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(byte_view(tensor).cpu().numpy().data)
        return digest.hexdigest()


class FrozenCodes:
    """The inputs of each layer in turn. A finished layer encodes the data when the next one requests its inputs.

    A file of codes stays in the stage's folder until the next stage has closed. It is reused only if its key matches
    the data, weights, shapes and types of this run, and its SHA-256 matches its contents; otherwise it is rewritten.

    Args:
        x: Inputs of the first layer.
        name: Name of the files: ``codes`` or ``validation-codes``.
        context: The run's context, whose directory holds the files.
        budget: The memory budget, shared by all codes of the run.
        dtype: Type in which codes are kept.
        read_ahead: Memory in bytes for reading a file ahead.
    """

    def __init__(
        self, x: Inputs, name: str, context: RunContext, budget: MemoryBudget, *, dtype: CodeType, read_ahead: int
    ) -> None:
        self.name = name
        self.context = context
        self.budget = budget
        self.dtype = TYPES[dtype]
        self.read_ahead = read_ahead
        self._first = x
        self._x = x
        self._size = 0
        self._keys: list[str] = []
        self._finished: list[Finished] = []
        self._made = 0

    def add(self, stage: str, layer: Layer, device: str, processes: int) -> None:
        """Add a finished layer on top."""
        self._finished.append(Finished(stage, layer, device, processes))

    def get(self) -> Inputs:
        """Return the codes of the layers so far, on which the next layer trains."""
        for place in range(len(self._finished) - 1, self._made - 1, -1):
            if (kept := self._read(place)) is not None:
                self._take(kept, 0, place + 1)
                break
        while self._made < len(self._finished):
            self._take(*self._make(self._made), self._made + 1)
        return self._x

    def close(self) -> None:
        """Release the memory and delete the files."""
        self._take(self._first, 0, len(self._finished))

    def _take(self, x: Inputs, size: int, made: int) -> None:
        """Switch to these codes; release the memory and delete the files of earlier ones."""
        self.budget.release(self._size)
        if isinstance(self._x, FileRows) and self._x is not self._first:
            self._x.close()
        self._x, self._size, self._made = x, size, made
        if is_first_process():
            keep = self._path(made - 1) if isinstance(x, FileRows) and made else None
            for place in range(made):
                if (path := self._path(place)) is not None and path != keep:
                    for old in (path, _description_path(path), path.with_name(LOCK)):
                        old.unlink(missing_ok=True)
                    remove_parts(path)

    def _make(self, place: int) -> tuple[Inputs, int]:
        finished = self._finished[place]
        size = len(self._first) * torch.Size(finished.layer.code_shape).numel() * self.dtype.itemsize
        if self.budget.reserve(size):
            codes = encode_dataset(finished.layer, self._x, device=finished.device, dtype=self.dtype)
            _check(codes, finished.stage)
            return (codes if self.dtype == torch.float32 else HalfRows(codes)), size
        path = self._path(place)
        if path is None:
            raise ConfigError(missing_run_directory(size))
        with self._write_lock(finished, path):
            # Another process may have written it in the meantime.
            if finished.processes == 1 or (rows := self._read(place)) is None:
                print_line(f"{finished.stage}  codes go to {path}: {size:,} bytes do not fit the memory budget")
                self._write(path, finished, self._key(place), size)
                rows = self._rows(path, finished, self._key(place))
        return rows, 0

    @contextlib.contextmanager
    def _write_lock(self, finished: Finished, path: Path) -> Iterator[None]:
        """Let one process write while the others wait."""
        make_folder(path.parent)
        with contextlib.ExitStack() as held:
            if finished.processes > 1:
                with storing(path.with_name(LOCK), 0):
                    held.enter_context(FileLock(path.with_name(LOCK)))
            yield

    def _write(self, path: Path, finished: Finished, key: str, size: int) -> None:
        digest = hashlib.sha256()
        with storing(path, size):
            _description_path(path).unlink(missing_ok=True)
            remove_parts(path)
            part, file = open_part(path)
            try:
                with file:
                    for codes in encode_batches(finished.layer, self._x, device=finished.device):
                        kept = codes.to(self.dtype)
                        _check(kept, finished.stage)
                        digest.update(written := byte_view(kept).cpu().numpy().data)
                        file.write(written)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        write_atomically(_description_path(path), json.dumps({"key": key, "sha256": digest.hexdigest()}).encode())

    def _read(self, place: int) -> Rows | None:
        """Read the codes in a layer's file if they are those that it would compute now; else return ``None``."""
        path = self._path(place)
        if path is None or not path.is_file():
            return None
        try:
            facts = read_json(_description_path(path))
            if facts == {"key": self._key(place), "sha256": sha256_of(path)}:
                return self._rows(path, self._finished[place], facts["key"])
        except OSError:
            pass
        print_line(f"{self._finished[place].stage}  {path} is not what this run would write: making it again")
        return None

    def _rows(self, path: Path, finished: Finished, key: str) -> FileRows:
        file = RowFile(path, tuple(finished.layer.code_shape), self.dtype)
        return FileRows(file, torch.arange(len(self._first)), key, budget=self.read_ahead)

    def _key(self, place: int) -> str:
        while len(self._keys) <= place:
            below = self._keys[-1] if self._keys else _key_of(self._first)
            self._keys.append(self._finished[len(self._keys)].key(below, self.dtype))
        return self._keys[place]

    def _path(self, place: int) -> Path | None:
        folder = self.context.stage_folder(self._finished[place].stage)
        return None if folder is None else folder / f"{self.name}.bin"


def missing_run_directory(size: int) -> str:
    """Error message for codes that do not fit into memory when there is no run directory."""
    return (
        f"{size:,} bytes of codes do not fit data.memory_budget, and without a run directory there is no place to put "
        "them. Name one by RunContext(out=...), or raise the budget."
    )


def disk_for_codes(layers: Sequence[Layer], inputs: Sequence[Inputs], budget: MemoryBudget, dtype: CodeType) -> int:
    """Estimate how many bytes of codes a run has on the disk at once.

    Args:
        layers: The stack.
        inputs: Training and validation inputs of the first layer.
        budget: The memory budget of the codes.
        dtype: Type in which codes are kept.
    """
    most, before, memory = 0, 0, 0
    for layer in layers[:-1]:
        sizes = [len(x) * torch.Size(layer.code_shape).numel() * TYPES[dtype].itemsize for x in inputs]
        kept = sum(size for size in sizes if budget.reserve(size))
        budget.release(memory)
        memory, now = kept, sum(sizes) - kept
        most, before = max(most, before + now), now
    return most


def _check(codes: Tensor, stage: str) -> None:
    """Raise a ConfigError if float16 cannot represent a code."""
    if codes.dtype == torch.float16 and codes.isinf().any():
        raise ConfigError(f"{stage}: codes beyond 65504 do not fit float16. Use --pretrain.codes bfloat16 or float32.")


def _key_of(x: Inputs) -> str:
    if isinstance(x, FileRows | HalfRows):
        return x.key
    assert isinstance(x, Tensor)
    return digest_of(x)


def _description_path(path: Path) -> Path:
    return path.with_suffix(".json")
