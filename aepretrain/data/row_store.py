"""Rows that arrive batch by batch: kept in memory, or in a temporary file if they exceed a budget."""

import contextlib
import errno
import hashlib
import os
import socket
import weakref
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from aepretrain.data.file_rows import FileRows, RowFile
from aepretrain.data.float32 import numpy_type, to_float32
from aepretrain.data.origin import Origin
from aepretrain.data.rows import byte_view
from aepretrain.storage.files import make_folder, probe, storing
from aepretrain.storage.guard import PART, open_part


class RowStore:
    """Rows of one shape and type, in the order in which they are appended.

    If twice their size as float32 exceeds the budget, they go to a file, which is removed when the process ends.

    Args:
        limit: Budget in bytes; ``None``: no limit.
        folder: Folder of the file; it is created when it is needed.

    Example:
        >>> store = RowStore()
        >>> store.append(torch.zeros(2, 3), Origin("loader"))
        >>> store.append(torch.ones(1, 3), Origin("loader"))
        >>> store.rows().shape
        torch.Size([3, 3])
    """

    def __init__(self, limit: int | None = None, folder: Path = Path()) -> None:
        self.limit = limit
        self.folder = folder
        self.count = 0
        self.kind: str | None = None
        """Shape and type of a row in words; ``None``: there are no rows yet."""
        self._batches: list[tuple[Tensor, Origin, int]] = []
        """Rows in memory, their origin, and the number of the first of them there."""
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    @property
    def is_on_disk(self) -> bool:
        """Whether the rows go to the file."""
        return self._file is not None

    def append(self, rows: Tensor, origin: Origin, *, first: int = 0, coming: int = 0) -> None:
        """Append rows.

        Args:
            rows: Shape ``(B, ...)``.
            origin: Names rows and columns in messages.
            first: Number of the first row in ``origin``.
            coming: Number of rows, from the first one on, that are known to come.

        Raises:
            DataError: If they go to the file, and are no real numbers that fit float32.
            StorageError: If the file cannot be written.
        """
        self.kind = kind_of(rows)
        rows = rows.float() if rows.dtype == torch.bfloat16 else rows
        needed = 4 * (self.count + max(len(rows), coming)) * rows.shape[1:].numel()
        self.count += len(rows)
        self._batches.append((rows, origin, first))
        if self._file is None and self.limit is not None and 2 * needed > self.limit:
            make_folder(self.folder)
            _sweep(self.folder)
            probe(self.folder, needed // 4 * rows.dtype.itemsize)
            self._path, self._file = open_part(self.folder / f"{_owner()}{os.getpid()}.rows")
            self._removal = weakref.finalize(self, _remove, self._file, self._path, os.getpid())
        if self._file is not None:
            self._write()

    def _write(self) -> None:
        """Move the batches to the file, but for an empty one, which keeps shape and type."""
        assert self._file is not None
        with storing(self._path, sum(rows.nbytes for rows, _, _ in self._batches)):
            for rows, origin, first in self._batches:
                numpy_type(rows, origin)
                to_float32(rows.numpy(), origin, first)
                values = byte_view(rows).numpy().data
                self._file.write(values)
                self._digest.update(values)
        self._batches = [(rows[:0].clone(), origin, first)]

    def rows(self, budget: int = 1 << 20) -> Tensor | FileRows:
        """All rows, where they are; from a file with so many bytes for reading ahead."""
        if self._file is None:
            return torch.cat([rows for rows, _, _ in self._batches])
        with storing(self._path, 0):
            self._file.close()
        ((empty, _, _),) = self._batches
        file = RowFile(self._path, tuple(empty.shape[1:]), empty.dtype)
        if self._removal.detach():
            weakref.finalize(file, _remove, self._file, self._path, os.getpid())
        return FileRows(file, torch.arange(self.count), self._digest.hexdigest(), budget=budget)


def kind_of(rows: Tensor) -> str:
    """Shape and type of each row, in words.

    Example:
        >>> kind_of(torch.zeros(5, 2))
        '(2,) torch.float32'
    """
    return f"{tuple(rows.shape[1:])} {rows.dtype}"


def _owner() -> str:
    """How the files of this machine begin."""
    return f"loaders-{socket.gethostname()}-"


def _remove(file: BinaryIO, path: Path, process: int) -> None:
    """Close and remove a file, unless this is a fork of the process that made it."""
    file.close()
    if os.getpid() == process:
        with contextlib.suppress(OSError):
            path.unlink()


def _sweep(folder: Path) -> None:
    """Remove the files of processes of this machine that were killed, where a system can be asked for a process."""
    for path in folder.glob(f"{_owner()}*{PART}"):
        process = path.name.removeprefix(_owner()).partition(".")[0]
        if process.isdigit() and not _is_alive(int(process)):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True
