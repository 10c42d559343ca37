"""Devices: one Lightning Fabric for all stages of a run, launched once."""

import contextlib
import functools
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, distributed

from aepretrain.errors import ConfigError
from aepretrain.processes import exit_with_parent, track_launched
from aepretrain.training.options import TrainerOptions

LAUNCHER = "AEPRETRAIN_LAUNCHER"
"""Environment variable that passes the first process's ID to the processes that it launches."""
LIGHTNING_LOGGERS = ("lightning.pytorch", "lightning.fabric")
LIGHTNING_WARNINGS = (
    ".*is smaller than the logging interval.*",
    ".*LeafSpec.*is deprecated.*",
    ".*GPU available but not used.*",
    ".*exists and is not empty.*",
    # A frozen encoder is in evaluation mode on purpose; everything else was put into training mode.
    ".*in eval mode at the start of training.*",
)


def launched(options: TrainerOptions) -> Fabric:
    """Return the Fabric of these options; launch its processes when it is created.

    Raises:
        ConfigError: If Lightning refuses the devices, the strategy or the precision.
    """
    return _launched(**options.for_fabric())


@functools.cache
def _launched(**options: Any) -> Fabric:
    fabric = build_fabric(**options)
    environment = getattr(fabric.strategy, "cluster_environment", None)
    if isinstance(environment, LightningEnvironment):
        # If the first process dies before the others have connected to it, torch waits half an hour.
        if environment.local_rank() > 0 and LAUNCHER in os.environ:
            exit_with_parent(int(os.environ[LAUNCHER]))
        os.environ[LAUNCHER] = str(os.getpid())
    with quiet_lightning():
        track_launched(fabric.strategy.launcher)
        fabric.launch()
    return fabric


def build_fabric(**options: Any) -> Fabric:
    """Build a Fabric without launching it.

    Raises:
        ConfigError: If Lightning refuses the devices, the strategy or the precision.
    """
    try:
        with quiet_lightning():
            return Fabric(**options)
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


def num_processes(fabric: Fabric) -> int:
    """Number of processes that a Fabric has, or will have once it is launched."""
    return getattr(fabric.strategy, "num_processes", 1) * getattr(fabric.strategy, "num_nodes", 1)


def mean_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """The mean of the values of all processes, in the shape of ``values``."""
    return cast(Tensor, fabric.all_reduce(values, reduce_op="mean"))


def sum_over_processes(fabric: Fabric, values: Tensor) -> Tensor:
    """The sum of the values of all processes, in the shape of ``values``."""
    return cast(Tensor, fabric.all_reduce(values, reduce_op="sum"))


def gather(fabric: Fabric, values: Tensor) -> Tensor:
    """Gather the values of all processes, equal in shape, to shape ``(processes, ...)``."""
    if fabric.world_size == 1:
        return values.unsqueeze(0)
    gathered = [torch.empty_like(values) for _ in range(fabric.world_size)]
    distributed.all_gather(gathered, values)
    return torch.stack(gathered)


def wait_for(device: torch.device) -> None:
    """Wait until a CUDA device has finished its queued work; do nothing for other devices."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence the messages that Lightning prints for every Fabric or Trainer; they would bury the metrics."""
    loggers = [logging.getLogger(name) for name in LIGHTNING_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in LIGHTNING_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
