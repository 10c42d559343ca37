"""Signals: obeyed also while work goes on that never looks for them."""

import os
import signal
import threading
import time

import pytest

from aepretrain.compare.workers import signal_workers
from aepretrain.errors import DrawingStoppedError, StoppedError
from aepretrain.runs.drawing import drawing_report
from aepretrain.training.recovery.signals import remembering_signals, run_interruptibly, stop_at_signal


def test_work_that_never_looks_for_signals_is_left_where_it_is():
    start = time.monotonic()
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM]).start()
    with remembering_signals(), pytest.raises(StoppedError, match=r"stopped by SIGTERM in svm-all-seed0\.") as error:
        run_interruptibly(lambda: time.sleep(20), "in svm-all-seed0")
    assert error.value.exit_code == 143
    assert time.monotonic() - start < 5


def test_an_error_of_such_work_is_that_of_the_caller():
    def fail():
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError, match="no answer"):
        run_interruptibly(fail, "in a test")


def test_who_sends_a_signal_is_told_once_what_is_going_to_happen(capfd):
    for settings, answer in (({}, "saving at the next step"), ({"answer": "leaving"}, "leaving")):
        with remembering_signals(**settings):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        assert capfd.readouterr().err == f"\naepretrain: SIGTERM: {answer}\n"


def test_the_first_signal_is_passed_on():
    told = []
    with remembering_signals(told.append):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    assert told == [signal.SIGTERM]


def send(signum=signal.SIGTERM):
    os.kill(os.getpid(), signum)
    time.sleep(0.01)


class Callback:
    """A destructor, in which Python passes no error on."""

    def __del__(self):
        send()


def swallow():
    try:
        send()
    except Exception:
        time.sleep(0.01)


def turn_into_another_error():
    try:
        send()
    except Exception as error:
        raise ImportError("a library failed to load") from error


def be_called_back():
    Callback()
    time.sleep(20)


@pytest.mark.parametrize("work", [send, swallow, turn_into_another_error, be_called_back])
def test_work_with_nothing_to_save_is_left_whatever_a_library_makes_of_the_error(work, capfd):
    start, before = time.monotonic(), [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(StoppedError, match=r"^stopped by SIGTERM in a library\.$"), stop_at_signal("in a library"):
        work()
    assert time.monotonic() - start < 5
    assert capfd.readouterr().err == ""
    assert before == [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]


def test_a_signal_that_was_remembered_stops_before_the_report_is_drawn(tmp_path, capfd):
    with remembering_signals():
        send()
        with pytest.raises(DrawingStoppedError, match=f"aepretrain report {tmp_path}$"), drawing_report(tmp_path):
            raise AssertionError


def test_a_closed_terminal_is_remembered_and_no_error_of_its_own(monkeypatch):
    def gone(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", gone)
    with remembering_signals(), pytest.raises(StoppedError, match="stopped by SIGHUP") as error:
        run_interruptibly(lambda: (os.kill(os.getpid(), signal.SIGHUP), time.sleep(20)), "in a test")
    assert error.value.exit_code == 129


def test_without_sigkill_workers_are_stopped_once(monkeypatch):
    """Windows has no SIGKILL, and its SIGTERM is one."""
    monkeypatch.delattr(signal, "SIGKILL")
    told = []
    with remembering_signals(told.append):
        send()
    signal_workers(signal.SIGTERM)
    assert told == [signal.SIGTERM]
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
