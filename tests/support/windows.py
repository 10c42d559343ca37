"""Runs the command with what Windows lacks taken away, and with its rules for files: used by test_portable.py.

A folder cannot be opened, a file that is open for reading alone cannot be forced onto the disk, and an open file can
neither be removed nor replaced.
"""

import errno
import fcntl
import os
import signal
import sys
from pathlib import Path

for owner, names in (
    (os, ("preadv", "pread", "readv", "pwrite", "pwritev")),
    (signal, ("SIGKILL", "SIGHUP", "pthread_sigmask")),
):
    for name in names:
        delattr(owner, name)
os.O_BINARY = 0x8000

os_open, fsync = os.open, os.fsync


def open_file(path, flags, *args, **kwargs):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return os_open(path, flags, *args, **kwargs)


def force(file):
    handle = file if isinstance(file, int) else file.fileno()
    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    fsync(handle)


def refuse_if_open(path):
    for handle in Path("/proc/self/fd").iterdir():
        if os.path.exists(handle) and os.path.exists(path) and os.path.samefile(handle, path):
            raise PermissionError(errno.EACCES, "it is being used by another process", str(path))


def guarded(call):
    def guard(*paths, **kwargs):
        if str(paths[0]).startswith(sys.argv[1]) and "lock" not in os.path.basename(paths[0]):  # filelock knows Windows
            for path in paths:
                refuse_if_open(path)
        return call(*paths, **kwargs)

    return guard


os.open, os.fsync = open_file, force
os.unlink, os.remove, os.replace, os.rename = map(guarded, (os.unlink, os.remove, os.replace, os.rename))

if __name__ == "__main__":
    from aepretrain.cli.main import main

    sys.exit(main(sys.argv[2:]))
