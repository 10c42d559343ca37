"""SIGTERM, SIGHUP and Ctrl-C: recorded on arrival, acted on at the next step."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import FrameType
from typing import TypeVar

from aepretrain.errors import StoppedError
from aepretrain.processes import is_first_process, kill_launched
from aepretrain.stopping import answering, killing_signal, words, write_to_stderr

Answer = TypeVar("Answer")
POLL_SECONDS = 0.1
_received = 0
_pass_on: Callable[[int], None] | None = None
_answer = ""


def received() -> int:
    """Number of the signal that asks this process to stop; 0 if there is none."""
    return _received


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
    """Record SIGTERM, SIGHUP and Ctrl-C instead of exiting; a Ctrl-C after a first signal exits at once.

    In a thread other than the main one nothing changes: only the main thread handles signals.

    Args:
        pass_on: Called with SIGTERM when the first signal arrives, and with SIGKILL before exiting at once, to forward
            them to worker processes.
        answer: What happens next, printed for the user who sent the signal.
    """
    global _received, _pass_on, _answer
    _received, _pass_on, _answer = 0, pass_on, answer
    try:
        with answering(_remember):
            yield
    finally:
        _received, _pass_on = 0, None


@contextlib.contextmanager
def stop_at_signal(place: str = "") -> Iterator[None]:
    """Raise an error when SIGTERM, SIGHUP or Ctrl-C arrives, for work that has nothing to save.

    Args:
        place: What is interrupted, in words.

    Raises:
        StoppedError: If a signal arrives, or was recorded before. A library that turns it into another error, or
            swallows it, delays it to the end of the block at most.
    """
    came: list[int] = []

    def stopped(signum: int) -> StoppedError:
        return StoppedError(f"stopped by {words(signum)}{place and ' '}{place}.", signum)

    def leave(signum: int, frame: FrameType | None) -> None:
        if came and signum != signal.SIGINT:
            return  # it is leaving already
        if signum == signal.SIGINT and not is_first_process():
            return  # the first process answers for all
        came.append(signum)
        raise stopped(signum)

    if _received:
        raise stopped(_received)
    try:
        with answering(leave), _raising_again(came):
            yield
    except StoppedError:
        raise
    except BaseException as other:
        if came:
            raise stopped(came[0]) from other
        raise
    if came:
        raise stopped(came[0])


@contextlib.contextmanager
def _raising_again(came: list[int]) -> Iterator[None]:
    """Send a signal again whose error was raised in a destructor or a callback, where Python cannot pass it on."""
    before = sys.unraisablehook

    def send_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, StoppedError) and came:
            threading.Timer(0.01, _interrupt_main_thread, [came.pop()]).start()
        else:
            before(unraisable)

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt_main_thread(signum: int) -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signum)
    else:  # Windows
        signal.raise_signal(signum)


def follow_parent_signals() -> None:
    """Record SIGTERM from the parent of this worker process; other signals are for the parent to handle."""

    def remember(signum: int, frame: FrameType | None) -> None:
        global _received
        _received = signum

    signal.signal(signal.SIGTERM, remember)
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _remember(signum: int, frame: FrameType | None) -> None:
    global _received
    if _received and signum == signal.SIGINT:
        if _pass_on is not None:
            _pass_on(killing_signal())
        kill_launched()
        os._exit(128 + signal.SIGINT)
    if not _received and is_first_process():
        hint = ", again to leave at once" if signum == signal.SIGINT else ""
        write_to_stderr(f"\naepretrain: {words(signum)}: {_answer}{hint}\n")
    first, _received = not _received, _received or signum
    if first and _pass_on is not None:
        _pass_on(signal.SIGTERM)
