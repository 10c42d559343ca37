"""Which of several processes this one is, those that Lightning launched from it, and how they leave together."""

import contextlib
import functools
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import distributed

SECONDS_TO_LEAVE = 5.0
"""Seconds that the other processes have for leaving by themselves."""

_launched: list[subprocess.Popen[bytes]] = []


def is_first_process() -> bool:
    """Whether this process is the one that writes files and speaks: rank 0, also under torchrun and SLURM."""
    # Lightning's own launcher names the machine before it knows a rank.
    return getattr(rank_zero_only, "rank", 0) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def track_launched(launcher: Any) -> None:
    """Remember the processes that a launcher of Lightning starts, so that they are not left behind.

    Lightning's observer kills this process as soon as one of them leaves with an exit code, until
    :func:`dismiss_launched` empties the list.
    """
    global _launched
    procs = getattr(launcher, "procs", None)
    if procs is not None:
        _launched = procs


@functools.cache
def exit_with_parent(parent: int) -> None:
    """Have this process leave within a second of the one that started it, whatever it waits for."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="aepretrain-watch-parent").start()


def dismiss_launched() -> None:
    """Let the launched processes leave, and end those that have not after a while."""
    mine = list(_launched)
    _launched.clear()
    for process in mine:
        try:
            process.wait(SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def dismissing_on_failure() -> Iterator[None]:
    """If the block fails, let the processes that were launched for it leave, too."""
    try:
        yield
    except BaseException:
        dismiss_launched()
        raise


def kill_launched() -> None:
    """End the launched processes at once."""
    mine = list(_launched)
    _launched.clear()
    for process in mine:
        process.kill()


LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process exited")


def is_lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the group is gone.

    Example:
        >>> is_lost_process(RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer."))
        True
    """
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in LOST)


def leave_process_group() -> None:
    """Leave the group of processes in good order: a process that exits within it can be aborted by its threads."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
