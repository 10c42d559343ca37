"""Rows that stay in a file: read when they are asked for, into memory of their own, never by a mapping."""

import hashlib
import mmap
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.read_ahead import WINDOWS, ReadAhead
from aepretrain.data.rows import PIECE, Rows, digest_of
from aepretrain.data.transforms import Transform
from aepretrain.errors import DataError

BLOCK = 1 << 20
"""Bytes that are read at once at most, where rows lie side by side."""
GAP = 4096
"""Bytes between two rows that are rather read than left out: a page."""
WINDOW = 32 << 20
"""Bytes of a window of the read-ahead, at most."""


class RowFile:
    """The rows of one file, all of the same size, by their numbers in it.

    The pages of a mapping would count as memory of this process, so rows are read into buffers. Several threads may
    read at once.

    Args:
        path: The file.
        row_shape: Shape of one row.
        dtype: Type of the values in the file.
        offset: Where the first row begins, in bytes.

    Raises:
        DataError: If the file cannot be opened.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: torch.dtype, offset: int = 0) -> None:
        self.path = path
        self.row_shape = row_shape
        self.dtype = dtype
        self.offset = offset
        self.row_bytes = torch.Size(row_shape).numel() * dtype.itemsize
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
        weakref.finalize(self, os.close, self._file)

    def read(self, numbers: Tensor) -> Tensor:
        """The rows with these numbers, in this order, as float32: shape ``(len(numbers), *row_shape)``."""
        raw = torch.from_numpy(self._read_raw(numbers.numpy()))
        values = raw.view(self.dtype).reshape(len(numbers), *self.row_shape)
        if self.dtype == torch.float32 or not len(numbers):
            return values.float()
        return torch.from_numpy(_memory(values.numel() * 4).view(np.float32)).reshape(values.shape).copy_(values)

    def _read_raw(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        if not len(numbers):
            return np.empty((0, self.row_bytes), np.uint8)
        raw = _memory(len(numbers) * self.row_bytes).reshape(len(numbers), self.row_bytes)
        ascending = bool((numbers[1:] > numbers[:-1]).all())
        order = np.arange(len(numbers)) if ascending else numbers.argsort(kind="stable")
        found, per_block = numbers[order], max(1, BLOCK // self.row_bytes)
        far = np.diff(found) > max(1, GAP // self.row_bytes)
        cuts = (far | (np.diff(found // per_block) > 0)).nonzero()[0] + 1
        view = raw.data.cast("B")
        for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(found)], strict=True):
            first, span = int(found[begin]), int(found[end - 1] - found[begin]) + 1
            if end - begin == 1 or (ascending and span == end - begin):
                start = int(order[begin]) * self.row_bytes
                self._fill(view[start : start + span * self.row_bytes], first)
            else:
                block = np.empty((span, self.row_bytes), np.uint8)
                self._fill(block.data.cast("B"), first)
                raw[order[begin:end]] = block[found[begin:end] - first]
        return raw

    def _fill(self, buffer: memoryview, first: int) -> None:
        place = self.offset + first * self.row_bytes
        while len(buffer):
            try:
                count = os.preadv(self._file, [buffer], place)
            except OSError as error:
                raise DataError(f"{self.path} cannot be read: {error.strerror}. Check the disk.") from error
            if not count:
                raise DataError(f"{self.path} ended while it was read: it became shorter. Leave it alone during a run.")
            buffer, place = buffer[count:], place + count


def _memory(size: int) -> NDArray[np.uint8]:
    """Bytes that go back to the system as soon as they are free: what malloc keeps would count against the budget."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)


def identity_of(path: Path) -> str:
    """What a file is known by: where it lies, how long it is and when it was written."""
    facts = path.stat()
    return f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"


class FileRows(Rows):
    """Rows of a file, all or some, in a given order, that are read ahead once it is known what will be asked for.

    Args:
        file: Reads the rows.
        numbers: Their numbers in the file, shape ``(N,)``.
        identity: What the file is known by.
        transform: Scales the rows when they are read; ``None``: they come as they are.
        budget: Bytes of memory that reading ahead may take in all.
        device: Where rows arrive.
    """

    def __init__(
        self,
        file: RowFile,
        numbers: Tensor,
        identity: str,
        *,
        transform: Transform | None = None,
        budget: int = WINDOWS * WINDOW,
        device: torch.device | str = "cpu",
    ) -> None:
        self.file = file
        self.numbers = numbers
        self.identity = identity
        self.transform = transform
        self.budget = budget
        self.device = torch.device(device)
        self.shape = torch.Size((len(numbers), *file.row_shape))
        self._ahead: ReadAhead | None = None

    @property
    def key(self) -> str:
        """A digest of the file's identity, of which rows these are, and of how they are scaled."""
        words = f"{self.identity} {self.file.dtype} {self.file.row_shape} {self.file.offset} {self.transform}"
        state = {} if self.transform is None else self.transform.state_dict()
        digests = [digest_of(tensor) for tensor in state.values()]
        return hashlib.sha256(" ".join([words, *digests]).encode() + self.numbers.numpy().tobytes()).hexdigest()

    @property
    def piece(self) -> int:
        """Rows that are read at once where all of them are read."""
        return max(1, PIECE // (torch.Size(self.file.row_shape).numel() * 4))

    @property
    def window(self) -> int:
        """Rows of one window of the read-ahead."""
        # A window is read as it lies in the file and then converted: for a moment there are both.
        row_bytes = torch.Size(self.file.row_shape).numel() * 4 + self.file.row_bytes
        return max(1, min(WINDOW, self.budget // WINDOWS) // row_bytes)

    @property
    def asked_on(self) -> torch.device:
        """In the host's memory: numbers on a GPU would have to be waited for, and all that it was given before."""
        return torch.device("cpu")

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            return self._read_slice(self.numbers[rows])
        rows = rows.cpu()
        found = None if self._ahead is None else self._ahead.take(rows)
        return (_read(self.file, self.numbers[rows], self.transform) if found is None else found).to(self.device)

    def _read_slice(self, numbers: Tensor) -> Tensor:
        whole = torch.empty(len(numbers), *self.file.row_shape)
        begin = 0
        for part in numbers.split(self.piece):
            whole[begin : begin + len(part)] = _read(self.file, part, self.transform)
            begin += len(part)
        return whole.to(self.device)

    def raw(self) -> "FileRows":
        """The same rows as they lie in the file."""
        return FileRows(self.file, self.numbers, self.identity, budget=self.budget, device=self.device)

    def to(self, device: torch.device | str) -> Self:
        return type(self)(
            self.file, self.numbers, self.identity, transform=self.transform, budget=self.budget, device=device
        )

    def subset(self, rows: Tensor) -> "FileRows":
        numbers = self.numbers[rows]
        return FileRows(
            self.file, numbers, self.identity, transform=self.transform, budget=self.budget, device=self.device
        )

    def scan(self) -> Iterator[tuple[Tensor, Tensor]]:
        for numbers in self.numbers.sort().values.split(self.piece):
            yield numbers, _read(self.file, numbers, self.transform).to(self.device)

    def expect(self, rows: Tensor) -> None:
        self._read_ahead(rows.cpu(), self.window)

    def batches(self, size: int) -> Iterator[Tensor]:
        self._stop()
        if size <= self.window:
            self._read_ahead(torch.arange(len(self)), size, first=size)
        yield from (self[part] for part in torch.arange(len(self)).split(size))
        self._stop()

    def _read_ahead(self, rows: Tensor, window: int, **kwargs: int) -> None:
        self._stop()
        # A thread that held self would keep it alive.
        file, numbers, transform = self.file, self.numbers, self.transform
        self._ahead = ReadAhead(lambda part: _read(file, numbers[part], transform), rows, window, **kwargs)

    def _stop(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def __del__(self) -> None:
        if getattr(self, "_ahead", None) is not None:
            self._stop()


def _read(file: RowFile, numbers: Tensor, transform: Transform | None) -> Tensor:
    rows = file.read(numbers)
    return rows if transform is None else transform.scale_(rows)
