"""What the libraries of clusters are asked for, by stand-ins for them: see test_compare.py for real clusters."""

import contextlib
import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from aepretrain import ConfigError
from aepretrain.compare import Workers, workers
from aepretrain.errors import StoppedError
from aepretrain.training.recovery import signals


class TaskError(Exception):
    """An error of a task, as Ray raises it."""

    def __init__(self, cause):
        self.cause = cause


class Ray:
    """Runs each task when its result is fetched, the last job first."""

    exceptions = SimpleNamespace(RayTaskError=TaskError)

    def __init__(self):
        self.asked, self.cancelled, self.running, self.fails = [], [], False, None

    def is_initialized(self):
        return self.running

    def init(self, **options):
        self.asked.append(options)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.fails is not None:
            raise self.fails

    def put(self, value):
        return ("stored", value)

    def remote(self, **options):
        self.asked.append(options)
        return lambda function: SimpleNamespace(remote=lambda *given: (function, *given))

    def wait(self, waiting, timeout):
        self.asked.append(timeout)
        return waiting[-1:], waiting[:-1]

    def get(self, ready):
        for function, (stored, work), *given in ready:
            assert stored == "stored"
            try:
                yield function(work, *given)
            except ArithmeticError as error:
                raise TaskError(error) from None

    def cancel(self, task, force=False):
        self.cancelled.append((task[2], force))


@pytest.fixture
def ray(monkeypatch):
    """Ray's stand-in; the handler of SIGTERM and the console are as before afterwards."""
    ray, before = Ray(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(workers.console, "quiet", False)
    yield ray
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def doors(monkeypatch):
    """The addresses that are tried."""
    tried = []
    door = SimpleNamespace(close=lambda: tried.append("closed"))
    monkeypatch.setattr(
        workers.socket, "create_connection", lambda *place, timeout: tried.append((*place, timeout)) or door
    )
    return tried


def test_ray_runs_each_job_on_one_core_and_answers_come_as_they_are_ready(ray, doors):
    before = signal.getsignal(signal.SIGTERM)
    cluster = Workers(backend="ray", address="a:1")
    assert list(cluster.run(abs, [-1, -2, -3])) == [3, 2, 1]
    assert ray.asked == [{"address": "a:1", "log_to_driver": False}, {"num_cpus": 1}, 0.1, 0.1, 0.1]
    assert signal.getsignal(signal.SIGTERM) == before  # Ray's own handler ends the process
    assert doors == [(("a", 1), 10), "closed"]
    assert ray.cancelled == []


def test_ray_is_connected_to_once_and_without_an_address_unless_one_is_given(ray, doors):
    list(Workers(backend="ray").run(abs, []))
    assert ray.asked == [{"address": None, "log_to_driver": False}, {"num_cpus": 1}]
    ray.running = True
    assert workers._connect_to_ray("a:1") is ray
    assert len(ray.asked) == 2
    assert doors == []


def test_another_thread_leaves_the_handlers_of_signals_alone(ray, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **options: ray.asked.append(options))
    thread = threading.Thread(target=workers._connect_to_ray, args=[None])
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    thread.start()
    thread.join()
    assert (len(ray.asked), failed) == (1, [])


@pytest.mark.parametrize("fails", [OSError("refused"), ValueError("no port")])
def test_a_ray_cluster_that_cannot_be_joined_is_named(fails, ray):
    ray.fails = fails
    with pytest.raises(ConfigError, match=rf"^--address auto: there is no Ray cluster: {fails}\. Start one first\.$"):
        workers._connect_to_ray("auto")


def test_an_error_of_a_ray_task_is_that_of_the_job_and_the_others_are_cancelled(ray):
    with pytest.raises(ZeroDivisionError):
        list(workers._by_ray(lambda job: 1 // job, [5, 7, 0], None))
    assert ray.cancelled == [(5, True), (7, True)]


def test_a_signal_stops_the_jobs_of_ray(ray, monkeypatch):
    answers = workers._by_ray(abs, [1, 2], None)
    assert next(answers) == 2
    monkeypatch.setattr(signals, "_received", signal.SIGTERM)
    with pytest.raises(StoppedError, match=r"^stopped by SIGTERM with its workers\.$"):
        next(answers)
    assert ray.cancelled == [(1, True)]


@pytest.mark.parametrize(
    ("address", "tried"),
    [
        ("host:1", [(("host", 1), 10), "closed"]),
        ("ray://host:1", [(("host", 1), 10), "closed"]),
        (":1", [(("", 1), 10), "closed"]),
        ("host", []),
        ("ray://host", []),
    ],
)
def test_an_address_with_a_port_is_tried_for_ten_seconds_at_most(address, tried, doors):
    workers._check_connection(address)
    assert doors == tried


class Client(contextlib.AbstractContextManager):
    """Dask's stand-in: two workers, whose threads are set by the test."""

    threads = (1, 1)
    fails = None

    def __init__(self, address, timeout):
        self.address, self.timeout, self.closed = address, timeout, False
        if self.fails is not None:
            raise self.fails

    def scheduler_info(self, n_workers):
        shown = self.threads if n_workers == -1 else self.threads[:n_workers]
        return {"workers": {str(place): {"nthreads": count} for place, count in enumerate(shown)}}

    def __exit__(self, *error):
        self.closed = True


@pytest.fixture
def dask(monkeypatch):
    """Dask's stand-in, in place of the package."""
    monkeypatch.setitem(sys.modules, "dask", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "dask.distributed", SimpleNamespace(Client=Client))
    return monkeypatch


def test_dask_is_joined_for_a_comparison_and_left_after_it(dask):
    configured = []
    dask.setattr(workers, "parallel_config", lambda *given, **options: configured.append((given, options)) or _block())
    with Workers(backend="dask", address="tcp://a:1")._backend():
        ((given, options),) = configured
        client = options.pop("client")
        assert (given, options) == (("dask",), {})
        assert (client.address, client.timeout, client.closed) == ("tcp://a:1", 10, False)
    assert client.closed


def _block():
    return contextlib.nullcontext()


@pytest.mark.parametrize("threads", [(2, 2), (1, 2)])
def test_workers_of_dask_with_several_threads_are_refused(threads, dask):
    dask.setattr(Client, "threads", threads)
    with pytest.raises(ConfigError, match="must have one thread each"), workers._dask_client("tcp://a:1"):
        pass


@pytest.mark.parametrize("fails", [OSError("timed out"), ValueError("no port")])
def test_a_dask_scheduler_that_is_not_there_is_named(fails, dask):
    dask.setattr(Client, "fails", fails)
    expected = rf"^--address tcp://a:1: there is no Dask scheduler: {fails}\. Start one first\.$"
    with pytest.raises(ConfigError, match=expected), workers._dask_client("tcp://a:1"):
        pass


@pytest.mark.parametrize(("backend", "extra"), [("dask", "dask.distributed"), ("ray", "ray")])
def test_a_cluster_without_its_library_names_the_extra(backend, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(ConfigError, match=rf"^--backend {backend} needs the extra {backend}: pip install"):
        list(Workers(backend=backend, address="tcp://a:1").run(abs, [1]))
