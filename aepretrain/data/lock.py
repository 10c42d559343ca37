"""A lock between processes that leaves no file behind."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file, and remove it afterwards.

    Args:
        path: The lock file, in a folder that exists.
        wait: Whether to wait for another process that holds it.

    Raises:
        OSError: If it cannot be made, or another process holds it and is not waited for.

    Example:
        >>> from tempfile import mkdtemp
        >>> folder = Path(mkdtemp())
        >>> with locked(folder / ".lock"):
        ...     len(list(folder.iterdir()))
        1
        >>> len(list(folder.iterdir()))
        0
    """
    with FileLock(path, timeout=-1 if wait else 0):
        try:
            yield
        finally:
            # While it is held: those who wait for it see that it is gone, and make another.
            with contextlib.suppress(OSError):
                path.unlink()
