"""Atomic file writes: to a temporary file in the same folder, flushed to disk, then moved into place."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from aepretrain.errors import StorageError, UnwritableError
from aepretrain.storage.guard import PART, is_link, open_part, open_regular, open_to_append

PROBE = ".probe"
"""A file that is written and removed to check whether a folder is writable."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
INTACT = "What it held before is unchanged."
GONE = (errno.ENOENT, errno.EISDIR, errno.ESTALE)
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)


def sha256(data: bytes | memoryview) -> str:
    """SHA-256 of bytes, in hexadecimal.

    Example:
        >>> sha256(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a file atomically: the previous file is kept until the new one is on disk.

    Raises:
        StorageError: If the file cannot be written; the previous one is kept.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "row.json"
        >>> write_atomically(path, b"{}")
        >>> path.read_bytes()
        b'{}'
    """
    with storing(path, len(data)):
        part = write_part(path, data)
        try:
            os.replace(part, path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that belong together: all of them are on disk before the first old file is removed.

    Old and new files never coexist. If the process is killed while files are moved, some are missing.

    Args:
        folder: Target folder; created if missing.
        files: Contents by file name.

    Raises:
        StorageError: If a file cannot be written. The previous files are kept, unless moving the new ones fails.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_together(folder, {"weights": b"01", "config": b"{}"})
        >>> sorted(path.name for path in folder.iterdir())
        ['config', 'weights']
    """
    make_folder(folder)
    parts: dict[Path, Path] = {}
    try:
        for name, data in files.items():
            path = folder / name
            with storing(path, len(data)):
                parts[path] = write_part(path, data)
        with storing(folder, 0):
            for path in parts:
                path.unlink(missing_ok=True)
            for path, part in parts.items():
                os.replace(part, path)
            sync_folder(folder)
    finally:
        with contextlib.suppress(OSError):
            for part in parts.values():
                part.unlink(missing_ok=True)


def append_atomically(path: Path, data: bytes) -> None:
    """Append all bytes to a file or none: if writing fails, the file is truncated to its previous length.

    Raises:
        StorageError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows"
        >>> append_atomically(path, b"one "), append_atomically(path, b"two")
        (None, None)
        >>> path.read_bytes()
        b'one two'
    """
    with storing(path, len(data)), open_to_append(path) as file:
        before, left = file.seek(0, os.SEEK_END), memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(before)
            raise


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents.

    Raises:
        StorageError: If the folder cannot be created.
    """
    with storing(folder, 0):
        folder.mkdir(parents=True, exist_ok=True)


def write_part(path: Path, data: bytes | memoryview) -> Path:
    """Write bytes to a temporary file beside ``path`` and flush it to disk; the caller moves it into place.

    Raises:
        OSError: If the file cannot be written; the temporary file is removed.
    """
    part, file = open_part(path)
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return part


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, if the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def storing(path: Path, needed: int) -> Iterator[None]:
    """Convert an ``OSError`` to a one-line error with a remedy, and with needed and free bytes if the disk is full.

    Args:
        path: File or folder to write.
        needed: Bytes to write, as far as they are known.

    Raises:
        StorageError: If the block raises an ``OSError``.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        way_out = _way_out(error.errno, path, needed)
        raise UnwritableError(f"{path} cannot be written: {error.strerror or error}{way_out}") from error


def _way_out(number: int | None, path: Path, needed: int) -> str:
    if number in FULL:
        return f": {needed:,} bytes needed, {free_bytes(path):,} free. Make room. {INTACT}"
    if number in REFUSED:
        return f". Make it writable, or name another place. {INTACT}"
    if number in NO_FOLDER:
        return ". A file stands in the place of a folder: name another place."
    if number in GONE:
        return ". Its folder is gone or cannot be made: put it back, or name another place."
    return f". Look whether the disk is sound. {INTACT}"


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of a path, whose folder need not exist yet."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def probe(folder: Path, needed: int) -> None:
    """Check before any work that a folder is writable and has room.

    Raises:
        StorageError: If the folder is not writable or has too little room; the latter gives needed and free bytes.
    """
    write_atomically(folder / PROBE, b"\0" * 4096)
    with storing(folder, needed):
        (folder / PROBE).unlink()
    if needed > (free := free_bytes(folder)):
        raise StorageError(
            f"{folder} has too little room: about {needed:,} bytes needed, {free:,} free. Make room or name another."
        )


def remove_folder(folder: Path, record: str) -> None:
    """Remove a folder whose files a record knows; the record goes first, so that nothing left by a kill seems whole.

    Args:
        folder: The folder, which need not exist.
        record: Name of the records, in the folder or below it.

    Raises:
        StorageError: If it cannot be removed, or is a link.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_atomically(folder / "state.json", b"{}")
        >>> remove_folder(folder, "state.json")
        >>> folder.exists()
        False
    """
    with storing(folder, 0):
        if is_link(folder):
            raise OSError(errno.ELOOP, "it is a link, and nothing is deleted through links")
        for path in folder.rglob(record):
            path.unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)


def remove_parts(path: Path) -> None:
    """Remove the unfinished files of a killed process that are beside a file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "codes.bin"
        >>> part = write_part(path, b"half")
        >>> remove_parts(path)
        >>> part.exists()
        False
    """
    for part in path.parent.iterdir() if path.parent.is_dir() else ():
        if part.name.startswith(f"{path.name}.") and part.name.endswith(PART):
            part.unlink(missing_ok=True)


def sweep(folder: Path) -> list[Path]:
    """Remove the unfinished files of a killed process, and return their paths."""
    stale = sorted(folder.rglob(f"*{PART}"))
    with storing(folder, 0):
        for path in stale:
            path.unlink(missing_ok=True)
    return stale
