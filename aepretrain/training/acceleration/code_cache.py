"""The cache of compiled code: one folder for each step, which appears whole or not at all.

torch's compiler writes its files in place, and a process that loads half of a library is ended by the system.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aepretrain.storage.files import sync_folder

CACHE = Path("~/.cache/aepretrain/compiled")
VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""Where torch's compiler looks for its files."""
PART = ".part-"
STALE_SECONDS = 3600
"""Age of folders that a process left when it was killed."""


def digest_of(*key: object) -> str:
    """The name of the folder for code that depends on these values.

    Example:
        >>> digest_of("graph", (3, 4)) == digest_of("graph", (3, 4)), len(digest_of("graph"))
        (True, 40)
    """
    return hashlib.sha256(repr(key).encode()).hexdigest()[:40]


@contextlib.contextmanager
def code_folder(cache: Path, name: str) -> Iterator[Path]:
    """Have torch's compiler look for its files, and write them, in a folder that others see when the block has ended.

    Args:
        cache: The folder of all compiled code.
        name: The name of the folder, from :func:`digest_of`. If it exists, the block works in a copy: a process that
            is killed while it adds code leaves the folder as it is.

    Example:
        >>> cache = Path(tempfile.mkdtemp())
        >>> with code_folder(cache, "step") as folder:
        ...     _ = (folder / "code.so").write_bytes(b"")
        >>> [path.relative_to(cache).as_posix() for path in cache.rglob("*.so")]
        ['step/code.so']
    """
    _sweep(cache)
    part = Path(tempfile.mkdtemp(prefix=PART, dir=cache))
    is_new = not (cache / name).is_dir()
    try:
        if not is_new:
            shutil.copytree(cache / name, part, dirs_exist_ok=True)
        with _naming(part):
            yield part
        if is_new:
            _flush(part)
            with contextlib.suppress(OSError):  # another process was faster
                part.rename(cache / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Name a folder in the variable of torch's compiler within the block."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _sweep(cache: Path) -> None:
    """Remove the folders of processes that were killed while they compiled."""
    for part in cache.glob(f"{PART}*"):
        with contextlib.suppress(OSError):  # another process renames or removes its own
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(part, ignore_errors=True)
