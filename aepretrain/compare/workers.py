"""The processes that run cells: this process, local workers, or a Dask or Ray cluster."""

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import torch
from joblib import Parallel, delayed, parallel_config

from aepretrain.console import console
from aepretrain.errors import ConfigError, LostProcessError, OutOfMemoryError, StoppedError
from aepretrain.loading import load
from aepretrain.processes import exit_with_parent
from aepretrain.stopping import killing_signal
from aepretrain.training.options import TrainerOptions
from aepretrain.training.recovery.signals import POLL_SECONDS, follow_parent_signals, received, stop_if_asked

Row = TypeVar("Row")
SECONDS_TO_SAVE = 10.0
"""Seconds that workers have to save after a signal."""


@dataclass(frozen=True)
class Workers:
    """The processes that share the work.

    Args:
        count: Processes on this machine; 1 uses only this process. The machine's cores are divided among them.
        backend: ``local``, or ``dask`` or ``ray`` (extras of these names) for several machines, whose workers write
            into the same shared storage.
        address: Address of the Dask scheduler or the Ray cluster. Without an address, Ray uses the cluster of this
            machine, or starts one.

    Raises:
        ConfigError: If ``count`` is below 1, or ``dask`` has no address.

    Example:
        >>> list(Workers().run(abs, [-1, 2]))
        [1, 2]
    """

    count: int = 1
    backend: Literal["local", "dask", "ray"] = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--workers must be >= 1, but got {self.count}. One per core is a good number.")
        if self.backend == "dask" and self.address is None:
            raise ConfigError("--backend dask needs the scheduler's --address, such as tcp://host:8786.")

    @property
    def is_parallel(self) -> bool:
        """Whether the work leaves this process."""
        return self.count > 1 or self.backend != "local"

    def run(self, work: Callable[[Any], Row], jobs: Sequence[Any], name: Callable[[Any], str] = str) -> Iterator[Row]:
        """Apply a function to every job, and yield the results in order of completion.

        Args:
            work: A function of a job.
            jobs: Its arguments, one per call; calls run in sequence or in parallel.
            name: The name of a job, for messages.

        Raises:
            StoppedError: If a signal asks this process to stop; the workers have saved their state.
            OutOfMemoryError: If the system ended a worker of this machine, as it does when memory runs out.
            LostProcessError: If a worker crashed.
        """
        if not self.is_parallel:
            for job in jobs:
                stop_if_asked("between two cells")
                yield work(job)
            return
        try:
            for answer in self._answers(work, jobs, name):
                if answer is not None:
                    yield answer
                elif not received():
                    raise StoppedError("a worker was stopped by SIGTERM, and the others with it.", signal.SIGTERM)
        except Exception:
            if not received():  # workers fail after a signal because they were ended
                raise
        if received():
            signal_workers(killing_signal())  # idle workers would apply the old signal to the next job
        stop_if_asked("with its workers")

    def _answers(
        self, work: Callable[[Any], Row], jobs: Sequence[Any], name: Callable[[Any], str]
    ) -> Iterator[Row | None]:
        if self.backend == "ray":
            yield from _by_ray(work, jobs, self.address)
            return
        with self._backend(), warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="aepretrain-") as running:
            # joblib replaces workers whose memory grew, which happens when they load data, and warns about it.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
            parallel = Parallel(n_jobs=self.count if self.backend == "local" else -1, return_as="generator_unordered")
            master = Master(os.getpid(), Path(running)) if self.backend == "local" else None
            calls = (delayed(_in_worker)(work, job, name(job), master) for job in jobs if not received())
            try:
                with _deaf_to_ctrl_c():
                    answers = parallel(calls)
                yield from answers
            except BrokenProcessPool as error:
                if "terminated" not in str(error):
                    raise
                names = sorted(path.read_text(encoding="utf-8") for path in Path(running).iterdir())
                raise self._explain(str(error), names) from error

    def _explain(self, text: str, names: Sequence[str]) -> Exception:
        """The error for a worker that is gone, of what joblib says and of the jobs that ran."""
        what = f"while {', '.join(names)} ran" if names else "between two jobs"
        intact = "Finished cells and checkpoints are intact."
        if "SIGKILL" not in text:
            return LostProcessError(f"a worker crashed {what}. {intact} The same command goes on.")
        fewer = f"--workers {self.count // 2}" if self.count > 1 else None
        return OutOfMemoryError(
            f"a worker was ended by the system (SIGKILL) {what}, as happens when memory runs out. Fewer --workers than "
            f"{self.count}, or a smaller data.memory_budget, need less. {intact}",
            fewer,
        )

    @contextlib.contextmanager
    def _backend(self) -> Iterator[None]:
        if self.backend == "local":
            threads = max(1, (os.cpu_count() or 1) // self.count)
            with parallel_config("loky", inner_max_num_threads=threads, initializer=load, initargs=[__name__]):
                yield
        else:
            with _dask_client(self.address) as client, parallel_config("dask", client=client):
                yield


def signal_workers(signum: int) -> None:
    """Send a signal to the workers of this machine, and kill those that still run after ``SECONDS_TO_SAVE`` seconds."""
    for process in multiprocessing.active_children():
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone; the latter is Windows's word
            os.kill(process.pid or 0, signum)
    if signum != killing_signal():
        timer = threading.Timer(SECONDS_TO_SAVE, signal_workers, [killing_signal()])
        timer.daemon = True
        timer.start()


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start workers in this block: a terminal sends them Ctrl-C, too, also before they can leave it to this process."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True)
class Master:
    """The process that workers of the same machine work for.

    Args:
        pid: Its exit and its signals end the workers.
        running: Folder in which every worker names the job that it runs, for the case that it is killed.
    """

    pid: int
    running: Path


def _in_worker(work: Callable[[Any], Row], job: Any, name: str, master: Master | None) -> Row | None:
    """Run one job in a worker, without console output: several progress bars would overwrite one another.

    Args:
        work: The function to call.
        job: Its argument.
        name: The job's name.
        master: The process that the worker works for; ``None`` for workers of a cluster.

    Returns:
        The result; ``None`` if a signal stopped the job.
    """
    console.quiet = True
    if master is not None:
        follow_parent_signals()
        exit_with_parent(master.pid)
    try:
        stop_if_asked("before a cell")
        with contextlib.nullcontext() if master is None else _naming(name, master.running / str(os.getpid())):
            return work(job)
    except StoppedError:
        return None


@contextlib.contextmanager
def _naming(job: str, path: Path) -> Iterator[None]:
    """Keep the name of a job in a file while it runs."""
    with contextlib.suppress(OSError):
        path.write_text(job, encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _dask_client(address: str | None) -> Iterator[Any]:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ConfigError("--backend dask needs the extra dask: pip install 'aepretrain[dask]'.") from error
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--address {address}: there is no Dask scheduler: {error}. Start one first.") from error
    with client:
        threads = {worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()}
        if threads - {1}:
            raise ConfigError("Dask workers must have one thread each: start them with --nthreads 1.")
        yield client


def _by_ray(work: Callable[[Any], Row], jobs: Sequence[Any], address: str | None) -> Iterator[Row | None]:
    """Run jobs on Ray directly: joblib's Ray backend returns no result before the last (``return_as``)."""
    ray = _connect_to_ray(address)
    task, shared = ray.remote(num_cpus=1)(_in_worker), ray.put(work)
    waiting = [task.remote(shared, job, "", None) for job in jobs]
    try:
        while waiting:
            stop_if_asked("with its workers")
            ready, waiting = ray.wait(waiting, timeout=POLL_SECONDS)
            try:
                yield from ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
    finally:
        for left in waiting:
            ray.cancel(left, force=True)


def _connect_to_ray(address: str | None) -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--backend ray needs the extra ray: pip install 'aepretrain[ray]'.") from error
    try:
        if not ray.is_initialized():
            _check_connection(address or "")
            before = signal.getsignal(signal.SIGTERM)
            ray.init(address=address, log_to_driver=False)
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray's own handler aborts the process
    except (OSError, ValueError) as error:
        raise ConfigError(f"--address {address}: there is no Ray cluster: {error}. Start one first.") from error
    return ray


def _check_connection(address: str) -> None:
    """Fail early if nothing listens at the address: Ray itself retries for minutes, and then ends the process."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.port is not None:
        socket.create_connection((place.hostname or "", place.port), timeout=10).close()


def device_of_worker(trainer: TrainerOptions) -> TrainerOptions:
    """The trainer's options for this worker: the workers of a machine are distributed over its GPUs."""
    worker = multiprocessing.current_process()
    if worker.name == "MainProcess" or trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return trainer
    number = int(worker.name.rsplit("-", 1)[-1]) if worker.name[-1].isdigit() else worker.pid or 0
    return replace(trainer, devices=f"{number % torch.cuda.device_count()},")
