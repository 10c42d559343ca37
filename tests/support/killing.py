"""Runs the command in a process forked for it, and kills it where it is told: see runs.py and test_faults.py."""

import ctypes
import os
import resource
import signal
import sys
import traceback
from pathlib import Path

import aepretrain.ensembles.train
import aepretrain.storage.files
import aepretrain.training.recovery.checkpoints
import aepretrain.training.stage
from aepretrain.cli.main import main
from aepretrain.training import loop
from aepretrain.training.acceleration.block_function import BlockFunction
from aepretrain.training.acceleration.updates import FusedUpdate
from aepretrain.training.epoch_log import EpochLog
from aepretrain.training.recovery.checkpoints import SavePoints


class Strike:
    """Do something to this very process at a place of the loop, when so many steps of a stage are done."""

    def __init__(self, stage, step, place, do):
        self.stage, self.step, self.place, self.do = stage, step, place, do
        self.now, self.done = None, 0

    def reach(self, place):
        """The loop has reached a place."""
        if (self.now, place) == (self.stage, self.place) and self.done >= self.step:
            self.step = float("inf")
            self.do()

    def arm(self):
        """Watch the places of the loop."""
        take_step, run_epochs, validate = loop.OptimizerStep.__call__, loop.run_epochs, loop.validate

        def counted(step, *args):
            loss = take_step(step, *args)
            self.done += 1
            self.reach("after_step")
            return loss

        def validated(*args):
            self.reach("before_validation")
            figures = validate(*args)
            self.reach("after_validation")
            return figures

        loop.OptimizerStep.__call__, loop.validate = counted, validated
        self.before(loop.OptimizerStep, "unscale_and_clip", "in_step")
        self.before(FusedUpdate, "__call__", "in_step")  # of a recorded step
        self.before(BlockFunction, "prepare", "in_step")  # of a compiled step
        self.before(SavePoints, "save_or_stop", "before_chunk")
        self.after(EpochLog, "close_epoch", "after_epoch")

        def told(state, take_step, batches, held_out, settings, *args):
            self.now, self.done = settings.name, state.step
            run_epochs(state, take_step, batches, held_out, settings, *args)

        aepretrain.training.stage.run_epochs = aepretrain.ensembles.train.run_epochs = told

    def before(self, owner, name, place):
        method = getattr(owner, name)
        setattr(owner, name, lambda *args, **kwargs: (self.reach(place), method(*args, **kwargs))[1])

    def after(self, owner, name, place):
        method = getattr(owner, name)
        setattr(owner, name, lambda *args, **kwargs: (method(*args, **kwargs), self.reach(place))[0])


class LittleRoom:
    """Let this process have only so many bytes more while a stage trains: what malloc holds free is taken first."""

    BLOCK = 1 << 20

    def __init__(self, stage, room):
        self.stage, self.room = stage, room
        self.libc = ctypes.CDLL(None)
        self.libc.malloc.argtypes, self.libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        self.libc.free.argtypes = [ctypes.c_void_p]

    def arm(self):
        run_epochs = loop.run_epochs

        def limited(state, take_step, batches, held_out, settings, *args):
            if settings.name != self.stage:
                return run_epochs(state, take_step, batches, held_out, settings, *args)
            self.take()
            run_epochs(state, take_step, batches, held_out, settings, *args)
            self.write_back()

        aepretrain.training.stage.run_epochs = limited

    def take(self):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
        self.held = list(iter(lambda: self.libc.malloc(self.BLOCK), None))
        resource.setrlimit(resource.RLIMIT_AS, (used + self.room, resource.RLIM_INFINITY))

    def write_back(self):
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for block in self.held:
            self.libc.free(block)


def arm(stage, step=0, place="after_step", signum=signal.SIGKILL, times=1, largest_file=None, room=None):
    """Have a signal sent, the size of files limited as a full disk does it, or the memory that is left."""

    def do():
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
            return
        for _ in range(times):
            os.kill(os.getpid(), signum)

    (Strike(stage, step, place, do) if room is None else LittleRoom(stage, room)).arm()


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
    """Die in the middle of writing a file whose path ends so: half of it lies beside its place."""

    def torn(path, data):
        if not path.as_posix().endswith(f"/{name}"):
            return whole(path, data)
        path.with_name(path.name + aepretrain.storage.files.PART).write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    whole, aepretrain.storage.files.write_part = aepretrain.storage.files.write_part, torn


def run(job):
    """Run the command of a job, to which something happens; this process ends here."""
    code = 99
    try:
        if job.get("strike"):
            arm(**job["strike"])
        if job.get("write"):
            arm_write(job["write"])
        if job.get("file"):
            arm_file(job["file"])
        sys.argv = ["aepretrain", *job["words"]]
        code = main(job["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
