"""Opening of files that somebody else may have prepared: regular files only, and no link is written through."""

import errno
import io
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from aepretrain.errors import StorageError

PART = ".part"
"""Suffix of unfinished files."""
PIECE = 1 << 16
"""Bytes read at once of a file whose size is not known."""
LARGEST = 1 << 30
"""Maximum size in bytes of a file that is read whole."""
# Windows has neither flag: links are looked for before a file is opened there, and no pipe stands in a folder.
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT = getattr(os, "O_NONBLOCK", 0)
BYTES = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def open_regular(path: Path) -> io.FileIO:
    """Open a regular file for reading, without buffer: never a pipe, a device or a socket, which may have no end.

    Links are followed: data sets are often made of them.

    Raises:
        OSError: If it cannot be opened, or is not a regular file.

    Example:
        >>> open_regular(Path(os.devnull))
        Traceback (most recent call last):
        OSError: [Errno 22] it is a device and not a regular file: '/dev/null'
    """
    return io.FileIO(_checked(os.open(path, os.O_RDONLY | NO_WAIT | BYTES), path), "rb")


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """Read a regular file of bounded size.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Raises:
        OSError: If it cannot be read, is not a regular file, or is larger.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a"
        >>> path.write_bytes(b"1234")
        4
        >>> read_bytes(path, most=4)
        b'1234'
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(errno.EINVAL, f"it has {size:,} bytes, and at most {most:,} are read", str(path))
        pieces, left = [], most + 1
        # A file of /proc has no size, and another may grow.
        while left and (piece := file.read(min(left, max(size, PIECE) + 1))):
            pieces.append(piece)
            left -= len(piece)
    if not left:
        raise OSError(errno.EINVAL, f"it has more than {most:,} bytes", str(path))
    return b"".join(pieces)


def read_text(path: Path, most: int = LARGEST) -> str:
    """Read a regular file of bounded size as UTF-8.

    Raises:
        OSError: If it cannot be read, is not a regular file, or is larger.
        UnicodeDecodeError: If it is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8")


def open_to_append(path: Path) -> io.FileIO:
    """Open a regular file for appending, without buffer; it is created if missing.

    Raises:
        OSError: If it cannot be opened, is a link, or is not a regular file.
    """
    _refuse_link(path)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NO_LINK | NO_WAIT | BYTES, 0o666)
    return io.FileIO(_checked(handle, path), "ab")


def open_part(path: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file beside ``path`` under a name that nobody can foresee; the caller moves it into place.

    Returns:
        Its path and the file, opened for writing.

    Raises:
        OSError: If it cannot be created.

    Example:
        >>> import tempfile
        >>> part, file = open_part(Path(tempfile.mkdtemp()) / "row.json")
        >>> file.close()
        >>> part.name.startswith("row.json."), part.suffix
        (True, '.part')
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PART}")
    return part, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | BYTES, 0o666), "wb")


def truncate(path: Path, length: int) -> None:
    """Cut a regular file to a length.

    Raises:
        OSError: If it cannot be cut, is a link, or is not a regular file.
    """
    with open_to_append(path) as file:
        file.truncate(length)


def inside(folder: Path, *names: str) -> Path:
    """The path of something in a folder of ours, to which no link of another's making leads.

    The folder itself may be a link, because the user names it.

    Args:
        folder: The folder, such as a run directory.
        names: Names of folders, each in the one before, and at the end perhaps of a file. They need not exist.

    Raises:
        StorageError: If one of them is a link.

    Example:
        >>> inside(Path("runs/a"), "stages", "00-plain").as_posix()
        'runs/a/stages/00-plain'
    """
    path = folder
    for name in names:
        path = path / name
        if is_link(path):
            raise StorageError(
                f"{path} is a link, and nothing is written or deleted through links inside {folder}. Put a folder of "
                "its own there, or name another directory."
            )
    return path


def is_link(path: Path) -> bool:
    """Whether a path is a link, or a junction of Windows."""
    is_junction = getattr(os.path, "isjunction", None)  # Python 3.12
    return path.is_symlink() or (is_junction is not None and is_junction(path))


def _refuse_link(path: Path) -> None:
    if is_link(path):
        raise OSError(errno.ELOOP, "it is a link, and nothing is written through links", str(path))


def _checked(handle: int, path: Path) -> int:
    """The handle of a regular file; any other is closed."""
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind} and not a regular file", str(path))
    return handle
