"""Files that are whole or not there: written beside their place, forced onto the disk, then moved into it."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from aepretrain.errors import StorageError

PART = ".part"
"""What the name of an unfinished file ends with."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256(data: bytes | memoryview) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits.

    Example:
        >>> sha256(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all: what was there before stays until the new one is on the disk.

    Raises:
        StorageError: If it cannot be written; the previous file is as it was.
    """
    with storing(path, len(data)):
        os.replace(write_part(path, data), path)
        sync_folder(path.parent)


def write_part(path: Path, data: bytes | memoryview) -> Path:
    """Write the bytes beside their place and force them onto the disk; the caller moves the file.

    Raises:
        OSError: If it cannot be written; nothing is left then.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def sync_folder(folder: Path) -> None:
    """Force the names in a folder onto the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def storing(path: Path, needed: int) -> Iterator[None]:
    """Tell what the system refused in one line: needed and free bytes where the disk is full.

    Raises:
        StorageError: If the block raises an OSError.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            reason += f": {needed:,} bytes needed, {free_bytes(path):,} free. Make room and go on by --resume"
        raise StorageError(f"{path} cannot be written: {reason}. What it held before is unchanged.") from error


def free_bytes(path: Path) -> int:
    """What is free on the disk of a path, whose folder need not exist yet."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def probe(folder: Path, needed: int) -> None:
    """See, before any work is done, that a folder can be written and has room.

    Raises:
        StorageError: If not; the message says how much is needed and how much is free.
    """
    write_whole(folder / ".probe", b"\0" * 4096)
    (folder / ".probe").unlink()
    if needed > (free := free_bytes(folder)):
        raise StorageError(
            f"{folder} has too little room: about {needed:,} bytes needed, {free:,} free. Make room or name another."
        )


def sweep(folder: Path) -> list[Path]:
    """Remove what a killed process left half written, and return it."""
    stale = sorted(folder.rglob(f"*{PART}"))
    for path in stale:
        path.unlink(missing_ok=True)
    return stale
