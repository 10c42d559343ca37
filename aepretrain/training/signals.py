"""SIGTERM and Ctrl-C: remembered when they come, obeyed at the next step."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from aepretrain.errors import StoppedError
from aepretrain.training.processes import is_first_process, kill_launched

OBEYED = (signal.SIGTERM, signal.SIGINT)
_received = 0


def received() -> int:
    """The number of the signal that asks this process to stop; 0 if there is none."""
    return _received


def words(signum: int) -> str:
    """The signal as a person calls it.

    Example:
        >>> words(2), words(15)
        ('Ctrl-C', 'SIGTERM')
    """
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


def stop_if_asked(place: str) -> None:
    """Leave here, where everything is on the disk, if a signal asks for it.

    Raises:
        StoppedError: If it does.
    """
    if _received:
        raise StoppedError(f"stopped by {words(_received)} {place}.", _received)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Remember SIGTERM and Ctrl-C instead of dying of them; a second Ctrl-C leaves at once.

    In a thread other than the main one nothing changes: signals are the main thread's.
    """
    global _received
    _received = 0
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, _remember) for signum in OBEYED}
    try:
        yield
    finally:
        _received = 0
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _remember(signum: int, frame: FrameType | None) -> None:
    global _received
    if _received and signum == signal.SIGINT:
        kill_launched()
        os._exit(128 + signal.SIGINT)
    if not _received and is_first_process():
        # Not by print: the signal may have come in the middle of one.
        hint = ", again to leave at once" if signum == signal.SIGINT else ""
        os.write(2, f"\naepretrain: {words(signum)}: saving at the next step{hint}\n".encode())
    _received = _received or signum


class NoSignals(_SignalConnector):
    """Lightning's part that handles signals, without handlers: its own turn SIGTERM into exit code 0."""

    def register_signal_handlers(self) -> None:
        self.received_sigterm = False
