"""Epoch metrics: one row per epoch for the stage's record and its loggers."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.pytorch.loggers import Logger
from torch import Tensor

from aepretrain.errors import DivergedError
from aepretrain.training.devices import gather, mean_over_processes, sum_over_processes, wait_for
from aepretrain.training.divergence import ADVICE
from aepretrain.training.validation import Metrics


class EpochLog:
    """Collects the losses of an epoch and writes one row at its end; until then, losses stay on the device.

    Args:
        stage: The stage's name.
        loggers: Loggers that receive one row per epoch.
        fabric: The Fabric of the processes whose losses are averaged.
        skips: Whether to leave losses that are not finite out of the mean.
    """

    def __init__(self, stage: str, loggers: Sequence[Logger], fabric: Fabric, *, skips: bool = False) -> None:
        self.stage = stage
        self.loggers = loggers
        self.fabric = fabric
        self.skips = skips
        self.history: list[dict[str, float]] = []
        self.losses: list[Tensor] = []
        self.examples: list[int] = []
        self.seconds = 0.0
        """Seconds of training in this epoch so far, without validation."""

    def add(self, losses: Tensor, examples: Sequence[int], seconds: float) -> None:
        """Add the losses of a chunk of steps, shape ``(K,)``; of an ensemble ``(K, S)``."""
        self.losses.append(losses)
        self.examples += examples
        self.seconds += seconds

    def close_epoch(self, epoch: int, step: int, validated: Metrics) -> dict[str, float]:
        """Write the row of an epoch: training loss, seconds of training and, if it was validated, its metrics.

        Raises:
            DivergedError: If a loss is not finite.
        """
        start = time.perf_counter()
        wait_for(self.fabric.device)
        self.seconds += time.perf_counter() - start
        loss, examples = sum_over_processes(self.fabric, torch.stack(self._sums())).unbind()
        train_loss = (loss / examples).float().item()
        seconds = mean_over_processes(self.fabric, torch.tensor(self.seconds, device=self.fabric.device)).item()
        names = list(validated)
        values = torch.stack([validated[name] for name in names]).tolist() if names else []
        row = {**dict(zip(names, values, strict=True)), "train/loss": train_loss, "epoch_seconds": seconds}
        self._check_finite(row, epoch)
        log_row(self.loggers, row, epoch, step)
        self.history.append(row)
        self.begin_epoch()
        return row

    def begin_epoch(self) -> None:
        """Reset the losses, example counts and seconds."""
        self.losses, self.examples, self.seconds = [], [], 0.0

    def _mean_loss(self) -> Tensor:
        """Over the examples of this process."""
        loss, examples = self._sums()
        return (loss / examples).float()

    def _sums(self) -> tuple[Tensor, Tensor]:
        """The loss and the number of this process's examples: sums in one order, however steps were grouped."""
        losses = torch.cat(self.losses).double()
        examples = torch.tensor(self.examples, device=losses.device)
        if losses.ndim == 2:
            examples = examples.unsqueeze(1)
        if self.skips:
            examples = examples * losses.isfinite()
            losses = losses.nan_to_num(0.0, 0.0, 0.0)
        counts = examples.sum(dim=0).expand(losses.shape[1:])
        return (losses * examples).sum(dim=0), counts.to(losses.dtype)

    def _check_finite(self, row: Mapping[str, float], epoch: int) -> None:
        for name in ("train/loss", "val/loss", "val/reconstruction"):
            if not math.isfinite(row.get(name, 0.0)):
                raise DivergedError(f"{self.stage}: {name} of epoch {epoch} is {row[name]}. {ADVICE}")

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint; every process has losses of its own, of equally many steps and examples.

        Shares differ in the last batch of an epoch alone, which nothing is saved after before the epoch is closed.
        """
        losses = torch.cat([torch.empty(0, device=self.fabric.device), *self.losses])
        return {
            "history": self.history,
            "losses": gather(self.fabric, losses),
            "examples": self.examples,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.history, self.examples, self.seconds = list(state["history"]), list(state["examples"]), state["seconds"]
        self.losses = [state["losses"][self.fabric.global_rank].to(self.fabric.device)]


def log_row(loggers: Sequence[Logger], row: Mapping[str, float], epoch: int, step: int) -> None:
    """Write the metrics of an epoch to loggers."""
    for logger in loggers:
        logger.log_metrics({**row, "epoch": epoch}, step)
        logger.save()
