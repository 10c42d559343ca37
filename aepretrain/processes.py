"""The role of this process in a group, and the shutdown of processes that Lightning launched from it."""

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
"""Seconds to wait for each launched process to exit before it is killed."""

_launched: list[subprocess.Popen[bytes]] = []


def is_first_process() -> bool:
    """Whether this process writes files and prints: rank 0, also under torchrun and SLURM."""
    # Lightning's own launcher sets NODE_RANK before the rank is known.
    return getattr(rank_zero_only, "rank", 0) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def track_launched(launcher: Any) -> None:
    """Track the processes that a Lightning launcher starts, so that none is left running.

    Lightning's observer kills this process when one of them exits with a non-zero code, unless
    :func:`dismiss_launched` has emptied the list.
    """
    global _launched
    procs = getattr(launcher, "procs", None)
    if procs is not None:
        _launched = procs


@functools.cache
def exit_with_parent(parent: int) -> None:
    """Exit this process within a second of its parent, even while it is blocked."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="aepretrain-watch-parent").start()


def dismiss_launched() -> None:
    """Wait for the launched processes to exit, and kill those that exceed :data:`SECONDS_TO_LEAVE`."""
    mine = list(_launched)
    _launched.clear()
    for process in mine:
        try:
            process.wait(SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def dismissing_on_failure() -> Iterator[None]:
    """Dismiss the launched processes if the block fails, and re-raise."""
    try:
        yield
    except BaseException:
        dismiss_launched()
        raise


def kill_launched() -> None:
    """Kill the launched processes at once."""
    mine = list(_launched)
    _launched.clear()
    for process in mine:
        process.kill()


LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process exited")


def is_lost_process(error: BaseException) -> bool:
    """Whether an error reports that another process of the group has died.

    Example:
        >>> is_lost_process(RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer."))
        True
    """
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in LOST)


def leave_process_group() -> None:
    """Destroy the process group: a process that exits without doing so can be aborted by its threads."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
