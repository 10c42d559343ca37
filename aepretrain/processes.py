"""Which of several processes this one is, and the processes that Lightning launched from it."""

import os
import subprocess
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import distributed

PATIENCE = 5.0
"""Seconds that the other processes have for leaving by themselves."""

_launched: list[subprocess.Popen[bytes]] = []


def is_first_process() -> bool:
    """Whether this process is the one that writes files and speaks: rank 0, also under torchrun and SLURM."""
    # Lightning's own launcher names the machine before it knows a rank.
    return getattr(rank_zero_only, "rank", 0) == 0 and int(os.environ.get("NODE_RANK", "0")) == 0


def adopt(launcher: Any) -> None:
    """Take over the processes that a Trainer launched for the first stage: the Trainers of later ones have no handle.

    Lightning's observer, which kills this process as soon as another one leaves with an exit code, loses sight of them
    only in :func:`dismiss_launched`.
    """
    procs = getattr(launcher, "procs", None)
    if procs:
        global _launched
        _launched = procs


def dismiss_launched() -> None:
    """Let the launched processes leave, and end those that have not after a while."""
    mine = list(_launched)
    _launched.clear()
    for process in mine:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()


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


def leave_group() -> None:
    """Leave the group of processes in good order: a process that exits within it can be aborted by its threads."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
