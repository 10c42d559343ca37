"""The signals that ask a process to stop, and leaving at once where nothing has to be saved.

It imports nothing heavy: the command takes signals before it loads torch.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], None]
NAMES = ("SIGTERM", "SIGINT", "SIGHUP")
"""Windows has no SIGHUP, which a closed terminal sends."""
STOP_SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Variables that number the processes of a run; where several are set, the first counts, as for Lightning."""


def words(signum: int) -> str:
    """The signal as a person calls it.

    Example:
        >>> words(2), words(15)
        ('Ctrl-C', 'SIGTERM')
    """
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


def killing_signal() -> int:
    """The signal that nothing can answer; on Windows SIGTERM is one.

    Example:
        >>> words(killing_signal())
        'SIGKILL'
    """
    return getattr(signal, "SIGKILL", signal.SIGTERM)


def take_signals(answer: Handler | signal.Handlers) -> dict[int, Handler | int]:
    """Have a handler answer the signals that ask to stop; returns who answered before.

    In a thread other than the main one nothing changes: signals are the main thread's. SIGHUP stays ignored where it
    is, as under nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    hangup, before = getattr(signal, "SIGHUP", None), {}
    for signum in STOP_SIGNALS:
        if signum == hangup and signal.getsignal(signum) == signal.SIG_IGN:
            continue
        former = signal.signal(signum, answer)
        before[signum] = signal.SIG_DFL if former is None else former
    return before


@contextlib.contextmanager
def answering(answer: Handler) -> Iterator[None]:
    """Have a handler answer the signals that ask to stop while the block runs."""
    before = take_signals(answer)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def leave_at_once(signum: int, frame: FrameType | None = None) -> None:
    """Leave with one line: for a process that has nothing to save yet.

    It raises nothing: what is being imported or parsed could make another error of it, or swallow it.
    """
    if _is_first():
        write_to_stderr(f"aepretrain: stopped by {words(signum)}; nothing is lost.\n")
    elif signum == signal.SIGINT:
        return  # the first process answers for all
    os._exit(128 + signum)


def ignore_signals() -> None:
    """For the last moment of a program, in which Python answers no signal any more: it leaves with its own code."""
    take_signals(signal.SIG_IGN)


def write_to_stderr(text: str) -> None:
    """Write from a handler: a signal may come in the middle of a print, and after the terminal has gone."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def _is_first() -> bool:
    rank = next((os.environ[name] for name in RANKS if name in os.environ), "0")
    return rank == "0" and os.environ.get("NODE_RANK", "0") == "0"
