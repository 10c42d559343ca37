"""SIGTERM and Ctrl-C: recorded on arrival, acted on at the next step."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import FrameType
from typing import TypeVar

from aepretrain.errors import StoppedError
from aepretrain.processes import is_first_process, kill_launched

Answer = TypeVar("Answer")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
POLL_SECONDS = 0.1
_received = 0
_pass_on: Callable[[int], None] | None = None
_answer = ""


def received() -> int:
    """Number of the signal that asks this process to stop; 0 if there is none."""
    return _received


def words(signum: int) -> str:
    """The common name of a signal.

    Example:
        >>> words(2), words(15)
        ('Ctrl-C', 'SIGTERM')
    """
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


def stop_if_asked(place: str) -> None:
    """Stop here, where everything is on the disk, if a signal arrived.

    Raises:
        StoppedError: If a signal asks this process to stop.
    """
    if _received:
        raise StoppedError(f"stopped by {words(_received)} {place}.", _received)


def run_interruptibly(work: Callable[[], Answer], place: str) -> Answer:
    """Run work that does not check for signals in a separate thread, and abandon it if a signal arrives.

    Args:
        work: The function to run; it must leave nothing half-written on the disk.
        place: Description of the interrupted work for the error message.

    Raises:
        StoppedError: If a signal asks this process to stop.

    Example:
        >>> run_interruptibly(lambda: 2 + 3, "in a sum")
        5
    """
    done: Future[Answer] = Future()

    def answer() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=answer, daemon=True).start()
    while not wait([done], POLL_SECONDS).done:
        stop_if_asked(place)
    return done.result()


@contextlib.contextmanager
def remembering_signals(
    pass_on: Callable[[int], None] | None = None, *, answer: str = "saving at the next step"
) -> Iterator[None]:
    """Record SIGTERM and Ctrl-C instead of exiting; a Ctrl-C after a first signal exits at once.

    In a thread other than the main one nothing changes: only the main thread handles signals.

    Args:
        pass_on: Called with SIGTERM when the first signal arrives, and with SIGKILL before exiting at once, to forward
            them to worker processes.
        answer: What happens next, printed for the user who sent the signal.
    """
    global _received, _pass_on, _answer
    _received, _pass_on, _answer = 0, pass_on, answer
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, _remember) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        _received, _pass_on = 0, None
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def stop_at_signal() -> Iterator[None]:
    """Raise an error when SIGTERM or Ctrl-C arrives, in a process that has nothing to save.

    Raises:
        StoppedError: If a signal arrives.
    """

    def leave(signum: int, frame: FrameType | None) -> None:
        raise StoppedError(f"stopped by {words(signum)}.", signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, leave) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def follow_parent_signals() -> None:
    """Record SIGTERM from the parent of this worker process, and ignore Ctrl-C, which the parent handles."""

    def remember(signum: int, frame: FrameType | None) -> None:
        global _received
        _received = signum

    signal.signal(signal.SIGTERM, remember)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _remember(signum: int, frame: FrameType | None) -> None:
    global _received
    if _received and signum == signal.SIGINT:
        if _pass_on is not None:
            _pass_on(signal.SIGKILL)
        kill_launched()
        os._exit(128 + signal.SIGINT)
    if not _received and is_first_process():
        # Not print: the signal may have interrupted one.
        hint = ", again to leave at once" if signum == signal.SIGINT else ""
        os.write(2, f"\naepretrain: {words(signum)}: {_answer}{hint}\n".encode())
    first, _received = not _received, _received or signum
    if first and _pass_on is not None:
        _pass_on(signal.SIGTERM)
