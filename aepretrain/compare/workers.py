"""Who runs the cells: this process, several processes of this machine, or a Dask or Ray cluster, all by joblib."""

import contextlib
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from joblib import Parallel, delayed, parallel_config

from aepretrain.errors import ConfigError
from aepretrain.training.options import TrainerOptions
from aepretrain.training.progress import console

Row = TypeVar("Row")


@dataclass(frozen=True)
class Workers:
    """The processes that share the work.

    Args:
        count: Processes on this machine; 1 is this one. The machine's cores are divided among them.
        backend: ``local``, or joblib's ``dask`` or ``ray`` (extras of these names), where one machine is not enough:
            the workers then write into the same shared storage.
        address: Of the Dask scheduler or the Ray cluster.

    Raises:
        ConfigError: If there are no workers, or a cluster has no address.

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

    def run(self, work: Callable[[Any], Row], jobs: Sequence[Any]) -> Iterator[Row]:
        """Do the work on every job, and give the answers as they come.

        Args:
            work: A function of a job.
            jobs: What it is called with, one after another or side by side.
        """
        if not self.is_parallel:
            yield from map(work, jobs)
            return
        with self._backend(), warnings.catch_warnings():
            # joblib replaces a worker whose memory grew, as it does with the data it reads, and warns of it.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
            parallel = Parallel(n_jobs=self.count if self.backend == "local" else -1, return_as="generator_unordered")
            yield from parallel(delayed(_in_worker)(work, job) for job in jobs)

    @contextlib.contextmanager
    def _backend(self) -> Iterator[None]:
        if self.backend == "local":
            threads = max(1, (os.cpu_count() or 1) // self.count)
            with parallel_config("loky", inner_max_num_threads=threads):
                yield
        elif self.backend == "dask":
            with _dask_client(self.address) as client, parallel_config("dask", client=client):
                yield
        else:
            _connect_to_ray(self.address)
            with parallel_config("ray"):
                yield


def _in_worker(work: Callable[[Any], Row], job: Any) -> Row:
    """Several progress bars would write over one another: workers are silent, and the first process speaks."""
    console.quiet = True
    return work(job)


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


def _connect_to_ray(address: str | None) -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ConfigError("--backend ray needs the extra ray: pip install 'aepretrain[ray]'.") from error
    ray.init(address=address, ignore_reinit_error=True)
    register_ray()


def device_of_worker(trainer: TrainerOptions) -> TrainerOptions:
    """The trainer's options for this process: where there are several GPUs, the workers of a machine take turns."""
    worker = multiprocessing.current_process()
    if worker.name == "MainProcess" or trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return trainer
    number = int(worker.name.rsplit("-", 1)[-1]) if worker.name[-1].isdigit() else worker.pid or 0
    return replace(trainer, devices=f"{number % torch.cuda.device_count()},")
