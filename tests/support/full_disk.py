"""A disk that is full from one write on, wherever that is: used by tests/storage/test_full_disk.py.

A place is a name below ``out`` and how often it was opened for writing before; names of unfinished files count as those
of the finished ones. ``means`` says how the disk is filled: ``limit`` lets no file of this process grow beyond what the
file of the place holds and three bytes, so that a write is cut in two; ``fill`` takes all blocks of the file system,
which is then to be a small one of its own: see :func:`small_disk`; ``remove`` takes the whole directory away.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.programs import call

UNFINISHED = re.compile(r"(\.[0-9a-f]{16})?\.part$")
BALLAST = "ballast"
WRITING = os.O_WRONLY | os.O_RDWR
NAMED_BY_TIME = re.compile(r"offline-run-[\w-]+")
CUT = 3
"""Bytes that still find room."""


@contextlib.contextmanager
def largest_file(size):
    """No file of this process grows beyond so many bytes: writes fail as on a full disk, half done."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def small_disk(folder, size):
    """Mount a file system of so many bytes on a folder; raises PermissionError where that is not allowed."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise PermissionError("no file system can be mounted here") from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Take all blocks that are free on the disk of a folder."""
    handle = os.open(folder / BALLAST, os.O_WRONLY | os.O_CREAT)
    disk = os.statvfs(folder)
    if disk.f_bavail:
        os.posix_fallocate(handle, 0, disk.f_bavail * disk.f_frsize)
    os.close(handle)


class Watch:
    """Sees everything that this process opens for writing below a folder."""

    def __init__(self, out, place=None, means="limit"):
        self.out, self.place, self.means = os.path.abspath(out), place, means
        self.seen, self.counts, self.busy = [], {}, False
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.busy or not self._writes(event, arguments):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not path.startswith(self.out + os.sep):
            return
        name = NAMED_BY_TIME.sub("offline-run", UNFINISHED.sub("", os.path.relpath(path, self.out)))
        number = self.counts[name] = self.counts.get(name, -1) + 1
        self.seen.append([name, number])
        if self.place == [name, number]:
            self.busy = True
            self.strike(path)

    @staticmethod
    def _writes(event, arguments):
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return False
        flags = arguments[2] or 0
        # A file that was written by another library is opened once more, only to be forced onto the disk.
        only_forced = flags & WRITING == os.O_RDWR and not flags & os.O_CREAT and str(arguments[0]).endswith(".part")
        return bool(flags & WRITING) and not only_forced

    def strike(self, path):
        if self.means == "fill":
            fill(Path(self.out).parent)
        elif self.means == "remove":
            shutil.rmtree(self.out)
        else:
            size = os.stat(path).st_size if os.path.isfile(path) and not path.endswith(".part") else 0
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + CUT, resource.RLIM_INFINITY))


def announce_safetensors():
    """Let the audit hook see what Rust writes."""
    import safetensors.torch

    write = safetensors.torch.serialize_file

    def announced(tensors, filename, *args, **kwargs):
        sys.audit("open", str(filename), "w", os.O_WRONLY)
        return write(tensors, filename, *args, **kwargs)

    safetensors.torch.serialize_file = announced


def run(job):
    """Run the command of a job while its directory is watched; the exit code."""
    from aepretrain.cli.main import main

    announce_safetensors()
    watch = Watch(job["out"], job.get("place"), job.get("means", "limit"))
    sys.argv = ["aepretrain", *job["words"]]
    code = main(job["words"])
    watch.busy = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Path(job["seen"]).write_text(json.dumps(watch.seen))
    return code


class FullDisk:
    """Runs the command with an environment of its own, on a disk that gets full.

    Args:
        folder: Folder for a file beside the disk.
        environment: Variables for the command.
    """

    def __init__(self, folder, **environment):
        self.seen, self.environment = Path(folder) / "seen.json", {**os.environ, **environment}

    def run(self, *words, out, place=None, **job):
        """Exit code, whether the place was met, what was printed, and all places: code, struck, out, err, seen."""
        self.seen.write_text("[]")
        job |= {"words": [str(word) for word in words], "out": str(out), "place": place, "seen": str(self.seen)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        program = call("tests.support.full_disk:run", job, env=self.environment, start_new_session=True, **pipes)
        out, err = program.communicate()
        seen = json.loads(self.seen.read_text())
        return {"code": program.returncode, "struck": place in seen, "out": out, "err": err, "seen": seen}
