"""Data that are decoded once, piece by piece, into a cache file of rows."""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.console import print_line
from aepretrain.data.file_rows import FileRows, RowFile, identity_of
from aepretrain.data.lock import locked
from aepretrain.data.paths import user_path
from aepretrain.data.stored import TYPES, StoredData
from aepretrain.errors import DataError, StorageError
from aepretrain.results.records import from_plain
from aepretrain.storage.files import make_folder, probe, sha256_of, storing, write_atomically
from aepretrain.storage.guard import open_part
from aepretrain.storage.json_files import read_json

DEFAULT_CACHE = Path("~/.cache/aepretrain/decoded")


@dataclass(frozen=True)
class _CacheRecord:
    """What stands beside a cache file."""

    sha256: str
    found: Mapping[str, Any]


_verified: set[str] = set()
"""Cache files, with size and times, whose SHA-256 this process has found to be right."""


class DecodedData(StoredData):
    """A folder of files that are decoded into rows when they are first read.

    The rows are cached in a file whose name contains a digest of the files' paths, sizes, and times of modification and
    status change, and of all settings that affect decoding. A file whose content changes while the system records
    neither another size nor another time is not noticed. A cache file is used if it has the SHA-256 that was written
    beside it, which each process checks when it first opens the file; else the files are decoded again. Other cache
    files of the same folder are deleted when one is written.

    Args:
        root: The folder, or a single file.
        cache: Folder for the cache file; ``None`` is ``~/.cache/aepretrain/decoded``.
        kwargs: Passed to :class:`~aepretrain.data.stored.StoredData`.

    Raises:
        DataError: If there is nothing at ``root``.
    """

    dtype: str
    """Type of the decoded values, a key of ``TYPES``."""

    def __init__(self, root: str | Path, *, cache: str | Path | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = user_path(root)
        self.cache = user_path(DEFAULT_CACHE if cache is None else cache)
        try:
            exists = self.root.exists()
        except OSError as error:
            raise DataError(f"data.root names {root}, which cannot be read: {error.strerror}. Make it so.") from error
        if not exists:
            raise DataError(f"data.root names {root}, which does not exist. Name the place of the data by --data.root.")
        self.found: dict[str, Any] = {}
        """What :meth:`decode` learnt beside the rows, as JSON has it; kept beside the cache file."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings, other than the files, that determine the decoded values."""

    @abstractmethod
    def decode(self) -> Iterator[NDArray[Any]]:
        """The rows, in a fixed order, in chunks of bounded size: ``(n, *in_shape)``, of type ``dtype``.

        What else is to be known of them, it puts into ``found``.
        """

    def read(self) -> tuple[FileRows, Tensor | None]:
        path, count = self._cache_file(), self.count()
        size = count * torch.Size(self.raw_shape).numel() * TYPES[self.dtype].itemsize
        try:
            if self._fault(path, size) is not None:
                self._make(path, size)
        except StorageError as error:
            raise type(error)(f"{error} The folder is named by --data.cache.") from error
        file = RowFile(path, self.raw_shape, TYPES[self.dtype])
        numbers, identity = torch.arange(count), identity_of(path)
        x = FileRows(file, numbers, identity, transform=self.transform, budget=self.read_ahead)
        return self.examples_of(x), self.y

    @property
    def _place(self) -> str:
        """How the names of all cache files of this folder begin."""
        return f"{self.name}-{_digest([self.name, str(self.root.resolve())])}"

    def _cache_file(self) -> Path:
        files = [f"{os.path.relpath(path, self.root)} {_facts(path)}" for path in self.files()]
        content = _digest([self.settings(), list(self.raw_shape), self.dtype, *files])
        return self.cache / f"{self._place}-{content}.bin"

    def _fault(self, path: Path, size: int) -> str | None:
        """What is wrong with the cache file; ``None``: it is right, and what was found is known."""
        with storing(path, size):
            if not path.exists():
                return "it does not exist"
            try:
                record = from_plain(_CacheRecord, read_json(_record(path)))
                digest, found = record.sha256, dict(record.found)
            except (ValueError, StorageError):
                return "there is no SHA-256 beside it"
            if _seal(path) not in _verified:
                if path.stat().st_size != size or sha256_of(path) != digest:
                    return "its SHA-256 is not the one that was noted beside it"
                _verified.add(_seal(path))
        self.found = found
        return None

    def _make(self, path: Path, size: int) -> None:
        """Decode all files into the cache file, unless another process has done so in the meantime."""
        make_folder(path.parent)
        with storing(path, size), locked(path.with_name(f"{self._place}.lock")):
            fault = self._fault(path, size)
            if fault is None:
                return
            if path.exists():
                print_line(f"{path} is damaged: {fault}. The data are decoded again.")
                path.unlink()
            probe(path.parent, size)
            self._write(path, size)
            self._remove_others(path)

    def _write(self, path: Path, size: int) -> None:
        digest, written = hashlib.sha256(), 0
        self.found = {}
        part, file = open_part(path)
        try:
            with file:
                for rows in self.decode():
                    values = np.ascontiguousarray(rows, dtype=self.dtype)
                    file.write(values.data)
                    digest.update(values.data)
                    written += values.nbytes
                file.flush()
                os.fsync(file.fileno())
            if written != size:
                raise DataError(f"{self.root} changed while it was decoded. Leave it alone during a run.")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        write_atomically(_record(path), json.dumps({"sha256": digest.hexdigest(), "found": self.found}).encode())
        _verified.add(_seal(path))

    def _remove_others(self, path: Path) -> None:
        """Delete what else the cache holds of this folder: it is outdated, or was left by a process that was killed."""
        for old in path.parent.glob(f"{self._place}-*"):
            if old not in (path, _record(path)):
                old.unlink(missing_ok=True)


def _record(path: Path) -> Path:
    """The file with the SHA-256 of a cache file and what was found while it was decoded."""
    return path.with_suffix(".json")


def _facts(path: Path) -> str:
    """The size and the times of a file: what changes when the system sees that the file changes."""
    try:
        facts = path.stat()
    except OSError:
        return "cannot be read"
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"


def _seal(path: Path) -> str:
    return f"{path.resolve()} {_facts(path)}"


def _digest(words: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:24]
