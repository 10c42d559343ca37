"""The processes that run cells: what they are told, how they leave, what is said of those that were lost."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest
import torch
from joblib.parallel import get_active_backend

from aepretrain import ConfigError, TrainerOptions
from aepretrain.compare import Cell, Trial, Workers, workers
from aepretrain.compare.arms import Arm
from aepretrain.compare.workers import device_of_worker, signal_workers
from aepretrain.console import console
from aepretrain.errors import LostProcessError, OutOfMemoryError, StoppedError
from aepretrain.training.recovery import signals
from tests.support.comparisons import small_bench, small_experiment


@pytest.mark.parametrize(
    ("options", "parallel"),
    [({}, False), ({"count": 1}, False), ({"count": 2}, True), ({"backend": "ray"}, True),
     ({"backend": "dask", "address": "tcp://a:1"}, True)],
)  # fmt: skip
def test_the_work_leaves_this_process_for_others(options, parallel):
    assert Workers(**options).is_parallel is parallel


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "--workers must be >= 1, but got 0"),
        ({"backend": "dask"}, "--backend dask needs the scheduler's"),
    ],
)
def test_workers_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Workers(**options)


def test_one_process_stops_between_two_jobs(monkeypatch):
    done = []

    def work(job):
        done.append(job)
        monkeypatch.setattr(signals, "_received", signal.SIGTERM if job == 2 else 0)
        return 10 * job

    answers = Workers().run(work, [1, 2, 3])
    assert [next(answers), next(answers)] == [10, 20]
    with pytest.raises(StoppedError, match=r"^stopped by SIGTERM between two cells\.$"):
        next(answers)
    assert done == [1, 2]


class Broken(Workers):
    """Workers whose answers are given, or who fail."""

    said = ()
    fails = None

    def _answers(self, work, jobs, name):
        yield from self.said
        if self.fails is not None:
            raise self.fails


def test_answers_come_through_and_a_worker_that_was_stopped_stops_all(monkeypatch):
    sent = []
    monkeypatch.setattr(workers, "signal_workers", sent.append)
    broken = Broken(2)
    monkeypatch.setattr(Broken, "said", (1, 2))
    assert list(broken.run(abs, [])) == [1, 2]
    assert sent == []
    monkeypatch.setattr(Broken, "said", (1, None, 2))
    with pytest.raises(StoppedError, match="a worker was stopped by SIGTERM, and the others with it") as raised:
        list(broken.run(abs, []))
    assert raised.value.signal == signal.SIGTERM


def test_after_a_signal_workers_that_fail_were_ended_and_the_idle_ones_are_killed(monkeypatch):
    sent = []
    monkeypatch.setattr(workers, "signal_workers", sent.append)
    monkeypatch.setattr(Broken, "fails", BrokenProcessPool("gone"))
    with pytest.raises(BrokenProcessPool):
        list(Broken(2).run(abs, []))
    assert sent == []
    monkeypatch.setattr(signals, "_received", signal.SIGINT)
    monkeypatch.setattr(Broken, "said", (None,))
    with pytest.raises(StoppedError, match=r"^stopped by Ctrl-C with its workers\.$"):
        list(Broken(2).run(abs, []))
    assert sent == [signal.SIGKILL]


LESS = "as happens when memory runs out. Fewer --workers than {}, or a smaller data.memory_budget, need less. "
INTACT = "Finished cells and checkpoints are intact."


@pytest.mark.parametrize(
    ("count", "names", "what", "fewer"),
    [
        (4, ["a", "b"], "while a, b ran", "--workers 2"),
        (2, ["a"], "while a ran", "--workers 1"),
        (1, [], "between two jobs", None),
    ],
)
def test_a_worker_that_the_system_ended_is_told_with_its_jobs_and_what_needs_less(count, names, what, fewer):
    error = Workers(count)._explain("terminated by SIGKILL(-9)", names)
    assert isinstance(error, OutOfMemoryError)
    assert str(error) == f"a worker was ended by the system (SIGKILL) {what}, {LESS.format(count)}{INTACT}"
    assert error.setting == fewer


def test_a_worker_that_crashed_is_told_with_its_job():
    error = Workers(2)._explain("terminated by SIGSEGV(-11)", ["a"])
    assert isinstance(error, LostProcessError)
    assert str(error) == f"a worker crashed while a ran. {INTACT} The same command goes on."


@pytest.mark.parametrize(("cores", "count", "threads"), [(8, 2, 4), (8, 3, 2), (8, 16, 1), (None, 1, 1)])
def test_the_cores_of_a_machine_are_divided_among_its_workers(cores, count, threads, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    with Workers(count)._backend():
        backend, _ = get_active_backend()
    assert (type(backend).__name__, backend.inner_max_num_threads) == ("LokyBackend", threads)


@pytest.fixture
def loud():
    """The console prints again afterwards."""
    yield
    console.quiet = False


def test_a_worker_names_its_job_while_it_runs_and_prints_nothing(tmp_path, monkeypatch, loud):
    followed = []
    monkeypatch.setattr(workers, "exit_with_parent", followed.append)
    monkeypatch.setattr(workers, "follow_parent_signals", lambda: followed.append("signals"))
    file = tmp_path / str(os.getpid())

    def work(job):
        assert file.read_text() == "cell ö"
        assert console.quiet
        return job + 1

    master = workers.Master(4711, tmp_path)
    assert workers._in_worker(work, 1, "cell ö", master) == 2
    assert followed == ["signals", 4711]
    assert not file.exists()
    assert workers._in_worker(lambda job: job, 3, "", None) == 3
    assert followed == ["signals", 4711]
    monkeypatch.setattr(signals, "_received", signal.SIGTERM)
    assert workers._in_worker(work, 1, "cell ö", master) is None


def test_a_job_that_fails_is_not_named_any_more_and_a_full_disk_stops_no_job(tmp_path, monkeypatch, loud):
    monkeypatch.setattr(workers, "exit_with_parent", lambda pid: None)
    monkeypatch.setattr(workers, "follow_parent_signals", lambda: None)

    def fail(job):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        workers._in_worker(fail, 1, "cell", workers.Master(1, tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert workers._in_worker(abs, -1, "cell", workers.Master(1, tmp_path / "gone")) == 1


@pytest.mark.parametrize(("signum", "timers"), [(signal.SIGTERM, 1), (signal.SIGKILL, 0)])
def test_workers_get_the_signal_and_are_killed_if_they_go_on(signum, timers, monkeypatch):
    began = []

    class Timer:
        """A timer that never ends."""

        daemon = False

        def __init__(self, *given):
            self.given = given

        def start(self):
            began.append((*self.given, self.daemon))

    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        ended = SimpleNamespace(pid=2**22 + 1)  # greater than any process id
        monkeypatch.setattr(multiprocessing, "active_children", lambda: [ended, process])
        monkeypatch.setattr(threading, "Timer", Timer)
        signal_workers(signum)
        assert process.wait(20) == -signum
    assert began == [(10.0, signal_workers, [signal.SIGKILL], True)] * timers


def test_workers_start_without_the_terminal_s_signal(monkeypatch):
    def blocked():
        return signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def fail():
        with workers._deaf_to_ctrl_c():
            assert blocked() == before | {signal.SIGINT}
            raise ZeroDivisionError

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    before = blocked()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert blocked() == before
    monkeypatch.delattr(signal, "pthread_sigmask")  # Windows
    with workers._deaf_to_ctrl_c():
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_that_is_not_there_is_found_out_by_its_address(address):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        taken = listening.getsockname()[1]
        workers._check_connection(address.format(taken))
    with pytest.raises(OSError, match="refused"):
        workers._check_connection(address.format(taken))
    for local in ("", "auto", "local"):
        workers._check_connection(local)


@pytest.mark.parametrize(
    ("name", "pid", "accelerator", "cuda", "devices"),
    [
        ("MainProcess", 7, "auto", True, 1),
        ("LokyProcess-3", 7, "cpu", True, 1),
        ("LokyProcess-3", 7, "auto", False, 1),
        ("LokyProcess-3", 8, "auto", True, "1,"),
        ("LokyProcess-12", 7, "gpu", True, "0,"),
        ("Dask Worker process (from Nanny)", 7, "auto", True, "1,"),
    ],
)
def test_workers_of_a_machine_are_distributed_over_its_devices(
    name, pid, accelerator, cuda, devices, monkeypatch, tmp_path
):
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(name=name, pid=pid))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    given = TrainerOptions(accelerator=accelerator)
    found = device_of_worker(given)
    assert found.devices == devices
    assert (found is given) == (devices == 1)
    bench = small_bench(tmp_path, trials=[Trial(small_experiment(trainer=given))])
    assert bench.network(Arm(), Cell("random", 0, 30), bench.trials[0]).trainer == found
