"""Signals: obeyed also while work goes on that never looks for them."""

import os
import signal
import threading
import time

import pytest

from aepretrain.errors import StoppedError
from aepretrain.training.recovery.signals import remembering_signals, run_interruptibly


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
