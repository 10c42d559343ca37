"""Rows that stay in a file and are read on request, into buffers instead of a memory mapping."""

import hashlib
import mmap
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.read_ahead import WINDOWS, ReadAhead
from aepretrain.data.rows import PIECE, Inputs, Rows, digest_of
from aepretrain.data.transforms import Transform
from aepretrain.errors import DataError
from aepretrain.storage.guard import open_regular

BLOCK = 1 << 20
"""Largest read of adjacent rows, in bytes."""
GAP = 4096
"""Largest gap between two rows, in bytes, that is read through instead of skipped: one page."""
WINDOW = 32 << 20
"""Largest window of the read-ahead, in bytes."""


class RowSource(ABC):
    """Rows of equal size that are read by index."""

    path: Path
    """The file that they come from."""
    row_shape: tuple[int, ...]
    """Shape of one row."""
    dtype: torch.dtype
    """Type in which they are kept."""
    offset: int
    """Offset of the first row in the file, in bytes."""
    row_bytes: int
    """Size of one row while it is read, in bytes."""

    @abstractmethod
    def read(self, numbers: Tensor) -> Tensor:
        """The rows with these indices, in this order, as float32: shape ``(len(numbers), *row_shape)``."""

    @abstractmethod
    def close(self) -> None:
        """Close the file, which may be removed then, on Windows too; nothing is read any more."""


class RowFile(RowSource):
    """Rows of equal size in one file, read by index.

    Rows are read into buffers, because the pages of a memory mapping would count as memory of this process. Several
    threads may read at once.

    Args:
        path: The file.
        row_shape: Shape of one row.
        dtype: Type of the values in the file.
        offset: Offset of the first row, in bytes.

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
            self._file = open_regular(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
        self._place = threading.Lock()
        weakref.finalize(self, self._file.close)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the file anew."""
        return type(self), (self.path, self.row_shape, self.dtype, self.offset)

    def close(self) -> None:
        self._file.close()

    def read(self, numbers: Tensor) -> Tensor:
        values = self.read_stored(numbers)
        if self.dtype == torch.float32 or not len(numbers):
            return values.float()
        return torch.from_numpy(allocate(values.numel() * 4).view(np.float32)).reshape(values.shape).copy_(values)

    def read_stored(self, numbers: Tensor) -> Tensor:
        """The rows with these indices, in this order, in the type of the file."""
        raw = torch.from_numpy(self._read_raw(numbers.numpy()))
        return raw.view(self.dtype).reshape(len(numbers), *self.row_shape)

    def _read_raw(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        if not len(numbers):
            return np.empty((0, self.row_bytes), np.uint8)
        raw = allocate(len(numbers) * self.row_bytes).reshape(len(numbers), self.row_bytes)
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
                count = self._read_at(place, buffer)
            except OSError as error:
                raise DataError(f"{self.path} cannot be read: {error.strerror}. Check the disk.") from error
            if not count:
                raise DataError(f"{self.path} ended while it was read: it became shorter. Leave it alone during a run.")
            buffer, place = buffer[count:], place + count

    def _read_at(self, place: int, buffer: memoryview) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [buffer], place)
        with self._place:  # Windows: the threads share one position in the file
            self._file.seek(place)
            return self._file.readinto(buffer) or 0


def allocate(size: int) -> NDArray[np.uint8]:
    """A buffer that returns to the system when freed: memory kept by malloc would count against the budget."""
    return np.frombuffer(mmap.mmap(-1, size), np.uint8)


class JoinedFiles(RowSource):
    """The rows of a file, followed by those of another one of the same shape of rows.

    Args:
        first: The first file.
        count: Its number of rows.
        second: The second file.
    """

    def __init__(self, first: RowSource, count: int, second: RowSource) -> None:
        self.path = first.path
        self.row_shape = first.row_shape
        self.dtype = torch.float32
        self.offset = first.offset
        self.row_bytes = max(first.row_bytes, second.row_bytes)
        self._parts = (first, second)
        self._count = count

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._parts[0], self._count, self._parts[1])

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def read(self, numbers: Tensor) -> Tensor:
        is_second = numbers >= self._count
        if not is_second.any() or is_second.all():
            return self._parts[int(is_second.any())].read(numbers - self._count * is_second)
        rows = torch.empty(len(numbers), *self.row_shape)
        for part, chosen in zip(self._parts, (~is_second, is_second), strict=True):
            rows[chosen] = part.read(numbers[chosen] - self._count * is_second[chosen])
        return rows


def identity_of(path: Path) -> str:
    """The identity of a file: its resolved path, size and modification time."""
    facts = path.stat()
    return f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"


class FileRows(Rows):
    """A selection of a file's rows in a given order, which can be read ahead.

    Args:
        file: Reads the rows.
        numbers: Indices of the rows in the file, shape ``(N,)``.
        identity: Identity of the file, from :func:`identity_of`.
        transform: Scales the rows when they are read; ``None``: rows are not scaled.
        budget: Memory for reading ahead in all, in bytes.
        device: Device of the returned rows.
    """

    def __init__(
        self,
        file: RowSource,
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
        row_shape = file.row_shape if transform is None else transform.out_shape(file.row_shape)
        self.shape = torch.Size((len(numbers), *row_shape))
        self._ahead: ReadAhead | None = None

    @property
    def key(self) -> str:
        """A digest of the file's identity, the row indices and the transform."""
        words = f"{self.identity} {self.file.dtype} {self.file.row_shape} {self.file.offset} {self.transform}"
        state = {} if self.transform is None else self.transform.state_dict()
        digests = [digest_of(tensor) for tensor in state.values()]
        return hashlib.sha256(" ".join([words, *digests]).encode() + self.numbers.numpy().tobytes()).hexdigest()

    @property
    def piece(self) -> int:
        """Rows per read when all rows are read."""
        return max(1, PIECE // self._row_bytes)

    @property
    def window(self) -> int:
        """Rows in one window of the read-ahead."""
        # The raw and the converted window exist at the same time during conversion.
        return max(1, min(WINDOW, self.budget // WINDOWS) // (self._row_bytes + self.file.row_bytes))

    @property
    def _row_bytes(self) -> int:
        """Bytes of a row as float32, before or after the transform, whichever is more."""
        return max(torch.Size(self.file.row_shape).numel(), self.shape[1:].numel()) * 4

    @property
    def index_device(self) -> torch.device:
        """The CPU: reading indices from a GPU would wait for all work queued on it."""
        return torch.device("cpu")

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        if isinstance(rows, slice):
            return self._read_slice(self.numbers[rows])
        rows = rows.cpu()
        found = None if self._ahead is None else self._ahead.take(rows)
        return (_read(self.file, self.numbers[rows], self.transform) if found is None else found).to(self.device)

    def _read_slice(self, numbers: Tensor) -> Tensor:
        whole = torch.empty(len(numbers), *self.shape[1:])
        begin = 0
        for part in numbers.split(self.piece):
            whole[begin : begin + len(part)] = _read(self.file, part, self.transform)
            begin += len(part)
        return whole.to(self.device)

    def close(self) -> None:
        """Stop reading, and close the file."""
        self._stop()
        self.file.close()

    def raw(self) -> "FileRows":
        """The same rows without the transform."""
        return self.scaled_by(None)

    def scaled_by(self, transform: Transform | None) -> "FileRows":
        """The same rows with another transform."""
        return FileRows(
            self.file, self.numbers, self.identity, transform=transform, budget=self.budget, device=self.device
        )

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

    def prefetch(self, rows: Tensor) -> None:
        self._read_ahead(rows.cpu(), self.window)

    def batches(self, size: int) -> Iterator[Tensor]:
        self._stop()
        if size <= self.window:
            self._read_ahead(torch.arange(len(self)), size, first=size)
        yield from (self[part] for part in torch.arange(len(self)).split(size))
        self._stop()

    def _read_ahead(self, rows: Tensor, window: int, **kwargs: int) -> None:
        self._stop()
        # The thread must not hold self, which would keep it alive.
        file, numbers, transform = self.file, self.numbers, self.transform
        self._ahead = ReadAhead(lambda part: _read(file, numbers[part], transform), rows, window, **kwargs)

    def _stop(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def __del__(self) -> None:
        if getattr(self, "_ahead", None) is not None:
            self._stop()


def join(x: Inputs, y: Inputs) -> Inputs:
    """The rows of one after those of the other: without reading them if both are rows of files."""
    if not isinstance(x, FileRows) or not isinstance(y, FileRows):
        return torch.cat([x[:], y[:]])
    file, count, identity = x.file, 0, x.identity
    if y.file is not x.file:
        count = int(x.numbers.max()) + 1 if len(x) else 0
        file, identity = JoinedFiles(x.file, count, y.file), f"{x.identity} {y.identity}"
    numbers = torch.cat([x.numbers, y.numbers + count])
    return FileRows(file, numbers, identity, transform=x.transform, budget=x.budget, device=x.device)


def by_row(x: Inputs, y: Tensor | None) -> Tensor | None:
    """The labels by the row numbers of :func:`~aepretrain.data.rows.scan`: those in a file, 0 for rows left out."""
    if y is None or not isinstance(x, FileRows) or not len(x):
        return y
    return y.new_zeros(int(x.numbers.max()) + 1).index_put((x.numbers,), y)


def in_memory(x: Inputs) -> Tensor:
    """All rows as a tensor."""
    return x if isinstance(x, Tensor) else x[:]


def scaled(x: Inputs, transform: Transform) -> Inputs:
    """Raw rows scaled by a transform, those of a file when they are read."""
    return x.scaled_by(transform) if isinstance(x, FileRows) else transform(x)


def _read(file: RowSource, numbers: Tensor, transform: Transform | None) -> Tensor:
    rows = file.read(numbers)
    return rows if transform is None else transform.scale_(rows)
