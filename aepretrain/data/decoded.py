"""Data that are decoded once, piece by piece, into a cache file of rows."""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.file_rows import FileRows, RowFile, identity_of
from aepretrain.data.stored import TYPES, StoredData
from aepretrain.errors import DataError, StorageError
from aepretrain.storage.files import PART, make_folder, probe, storing

DEFAULT_CACHE = Path("~/.cache/aepretrain/decoded")


class DecodedData(StoredData):
    """A folder of files that are decoded into rows when they are first read.

    The rows are cached in a file whose name contains a digest of the files' paths, sizes and modification times and of
    all settings that affect decoding. A changed file or setting changes the name, so a cache is never stale. An
    outdated cache of the same folder is deleted.

    Args:
        root: The folder, or a single file.
        cache: Folder for the cache file; ``None`` is ``~/.cache/aepretrain/decoded``.
        kwargs: Passed to :class:`~aepretrain.data.stored.StoredData`.

    Raises:
        DataError: If there is nothing at ``root``.
    """

    dtype: str
    """Type of the decoded values, a key of ``TYPES``."""

    def __init__(self, root: str, *, cache: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.cache = DEFAULT_CACHE if cache is None else Path(cache)
        if not self.root.exists():
            raise DataError(f"data.root names {root}, which does not exist. Name a folder.")
        self.y: Tensor | None = None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings, other than the files, that determine the decoded values."""

    @abstractmethod
    def count(self) -> int:
        """Number of decoded rows."""

    @abstractmethod
    def decode(self) -> Iterator[NDArray[Any]]:
        """The rows, in a fixed order, in chunks of bounded size: ``(n, *in_shape)``, of type ``dtype``."""

    def read(self) -> tuple[FileRows, Tensor | None]:
        folder, count = self.cache.expanduser(), self.count()
        place = _digest([self.name, str(self.root.resolve())])
        content = _digest([self.settings(), list(self.in_shape), self.dtype, *map(identity_of, self.files())])
        path = folder / f"{self.name}-{place}-{content}.bin"
        size = count * torch.Size(self.in_shape).numel() * TYPES[self.dtype].itemsize
        if not _is_whole(path, size):
            try:
                make_folder(folder)
            except StorageError as error:
                raise StorageError(f"{error} The folder is named by --data.cache.") from error
            with storing(path, size), FileLock(folder / f"{self.name}-{place}.lock"):
                if not _is_whole(path, size):
                    probe(folder, size)
                    self._write(path, size)
                    for old in folder.glob(f"{self.name}-{place}-*.bin"):
                        if old != path:
                            old.unlink(missing_ok=True)
        file = RowFile(path, self.in_shape, TYPES[self.dtype])
        numbers, identity = torch.arange(count), identity_of(path)
        return FileRows(file, numbers, identity, transform=self.transform, budget=self.read_ahead), self.y

    def _write(self, path: Path, size: int) -> None:
        part = path.with_name(path.name + PART)
        with storing(path, size):
            try:
                with part.open("wb") as file:
                    for rows in self.decode():
                        file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
                    file.flush()
                    os.fsync(file.fileno())
                if part.stat().st_size != size:
                    raise DataError(f"{self.root} changed while it was decoded. Leave it alone during a run.")
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _digest(words: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:24]
