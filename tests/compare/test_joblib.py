"""What joblib is asked for, by a stand-in that answers in turn: see test_compare.py for real workers."""

import contextlib
import signal
import tempfile
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import ClassVar

import pytest

from aepretrain.compare import Workers, workers
from aepretrain.errors import LostProcessError, OutOfMemoryError, StoppedError
from aepretrain.training.recovery import signals


class InTurn:
    """Stands in for joblib: calls are answered in this process, in turn."""

    made: ClassVar[list] = []
    fails = None

    def __init__(self, **options):
        self.made.append(options)

    def __call__(self, calls):
        self.made.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return self._answers(calls)

    def _answers(self, calls):
        warnings.warn("A worker stopped while some jobs were given to it", UserWarning, stacklevel=1)
        for function, given, _ in calls:
            yield function(*given)
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def in_turn(monkeypatch):
    """Calls to joblib, whose workers follow nobody."""
    monkeypatch.setattr(InTurn, "made", [])
    monkeypatch.setattr(workers.console, "quiet", False)
    for name, value in (("Parallel", InTurn), ("exit_with_parent", print), ("follow_parent_signals", print)):
        monkeypatch.setattr(workers, name, value)
    return monkeypatch


class Cluster(Workers):
    """Workers of a cluster that nobody has to reach."""

    def _backend(self):
        return contextlib.nullcontext()


@pytest.mark.parametrize(("shared", "jobs_at_once"), [(Workers(3), 3), (Cluster(3, "dask", "tcp://a:1"), -1)])
def test_joblib_is_asked_for_answers_as_they_come_and_starts_deaf_to_ctrl_c(shared, jobs_at_once, in_turn):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def work(job):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
        return -job

    assert list(shared.run(work, [1, 2])) == [-1, -2]
    asked, blocked = InTurn.made
    assert asked == {"n_jobs": jobs_at_once, "return_as": "generator_unordered"}
    assert blocked == before | {signal.SIGINT}


def folders():
    return {path for path in Path(tempfile.gettempdir()).iterdir() if path.name.startswith("aepretrain-")}


@pytest.mark.parametrize(("shared", "named"), [(Workers(2), ["cell 1"]), (Cluster(2, "dask", "tcp://a:1"), [])])
def test_workers_of_this_machine_name_their_jobs_in_a_folder_that_goes_with_them(shared, named, in_turn, tmp_path):
    in_turn.setattr(tempfile, "tempdir", str(tmp_path))

    def work(job):
        (folder,) = folders()
        assert [path.read_text() for path in folder.iterdir()] == named

    with contextlib.suppress(StoppedError):
        list(shared.run(work, [1], "cell {}".format))
    assert folders() == set()


def test_other_warnings_of_workers_are_shown(in_turn):
    def work(job):
        warnings.warn("a job warns", UserWarning, stacklevel=1)

    with pytest.raises(UserWarning, match="a job warns"):
        list(Workers(2).run(work, [1]))


def test_no_job_is_begun_after_a_signal(in_turn):
    done = []

    def work(job):
        done.append(job)
        in_turn.setattr(signals, "_received", signal.SIGTERM)
        return job

    in_turn.setattr(workers, "signal_workers", done.append)
    in_turn.setattr(workers, "_in_worker", lambda work, job, name, master: work(job))
    with pytest.raises(StoppedError, match="stopped by SIGTERM with its workers"):
        list(Workers(2).run(work, [1, 2]))
    assert done == [1, signal.SIGKILL]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("terminated by SIGKILL(-9)", OutOfMemoryError, "a worker was ended by the system .* while cell ä, cell ö ran"),
        ("terminated by SIGSEGV(-11)", LostProcessError, "a worker crashed while cell ä, cell ö ran"),
        ("could not be pickled", BrokenProcessPool, "could not be pickled"),
    ],
)
def test_workers_that_are_lost_are_told_with_the_jobs_that_they_ran(text, kind, message, in_turn):
    def work(master):
        for pid, name in (("1", "cell ö"), ("2", "cell ä")):
            (master.running / pid).write_text(name, encoding="utf-8")

    in_turn.setattr(workers, "_in_worker", lambda work, job, name, master: work(master) or job)
    in_turn.setattr(InTurn, "fails", BrokenProcessPool(text))
    with pytest.raises(kind, match=message):
        list(Workers(2).run(work, [1]))
