"""A program that runs the command as often as it is told, and kills it where it is told: see test_faults.py.

It loads torch once and forks for every run, so that hundreds of kills take minutes. A line on its standard input is a
JSON object with the words of the command and the place of the kill; the answer is the exit code, negative for a signal.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

from lightning.pytorch import Callback

import aepretrain.cli.verbs.fit
import aepretrain.ensembles.train
import aepretrain.storage.files
import aepretrain.training.recovery.checkpoints
import aepretrain.training.stage
from aepretrain.cli.main import main


class Strike(Callback):
    """Do something to this very process at a hook, when so many steps of the stage are done."""

    def __init__(self, step, hook, do):
        self.step, self.do = step, do
        setattr(self, hook, self.strike)

    def strike(self, trainer, *args):
        if trainer.global_step >= self.step:
            self.step = float("inf")
            self.do()


class LittleRoom(Callback):
    """Let this process have only so many bytes more while a stage trains: what malloc holds free is taken first."""

    BLOCK = 1 << 20

    def __init__(self, room):
        self.room = room
        self.libc = ctypes.CDLL(None)
        self.libc.malloc.argtypes, self.libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        self.libc.free.argtypes = [ctypes.c_void_p]

    def on_train_start(self, trainer, pl_module):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
        self.held = list(iter(lambda: self.libc.malloc(self.BLOCK), None))
        resource.setrlimit(resource.RLIMIT_AS, (used + self.room, resource.RLIM_INFINITY))

    def on_train_end(self, trainer, pl_module):
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for block in self.held:
            self.libc.free(block)


def arm(stage, step=0, hook="on_train_batch_end", signum=signal.SIGKILL, times=1, largest_file=None, room=None):
    """Have a signal sent, the size of files limited as a full disk does it, or the memory that is left."""
    build = aepretrain.training.stage.build_trainer

    def do():
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
            return
        for _ in range(times):
            os.kill(os.getpid(), signum)

    def armed(context, name, epochs, callbacks, **kwargs):
        strikes = [] if name != stage else [Strike(step, hook, do)] if room is None else [LittleRoom(room)]
        return build(context, name, epochs, [*callbacks, *strikes], **kwargs)

    aepretrain.training.stage.build_trainer = aepretrain.ensembles.train.build_trainer = armed


def arm_write(number):
    """Die in the middle of the checkpoint number so many of a stage: half a file lies there."""
    seen = []

    def torn(path, data):
        seen.append(path)
        if len(seen) < number:
            return whole(path, data)
        path.with_name(path.name + aepretrain.storage.files.PART).write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    whole, aepretrain.training.recovery.checkpoints.write_part = (
        aepretrain.training.recovery.checkpoints.write_part,
        torn,
    )


def arm_file(name):
    """Die in the middle of writing a file of this name: half of it lies beside its place."""

    def torn(path, data):
        if path.name != name:
            return whole(path, data)
        path.with_name(path.name + aepretrain.storage.files.PART).write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    whole, aepretrain.storage.files.write_part = aepretrain.storage.files.write_part, torn


def run(job):
    log = os.open(job["log"], os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(job.get("environment", {}))
    if "folder" in job:
        os.chdir(job["folder"])
        sys.path.insert(0, job["folder"])
    if job.get("strike"):
        arm(**job["strike"])
    if job.get("write"):
        arm_write(job["write"])
    if job.get("file"):
        arm_file(job["file"])
    sys.argv = ["aepretrain", *job["words"]]
    return main(job["words"])


if __name__ == "__main__":
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            code = 99
            try:
                code = run(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
