"""The training state of a stage: everything that determines how it continues."""

import time
from typing import Any

from lightning.fabric import Fabric
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aepretrain.layers.base import StageModule
from aepretrain.results.records import shown
from aepretrain.results.stage import StageRecord
from aepretrain.storage.plain_values import plain
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.epoch_log import EpochLog
from aepretrain.training.recovery.saved_states import check_optimizer_state, check_state


class TrainingState:
    """The module with its optimizer and scheduler, the position in training, and the results so far.

    Args:
        module: The module to train.
        optimizer: Its optimizer.
        scheduler: Its scheduler, if there is one.
        scaler: The gradient scaler of float16 mixed precision, if there is one.
        log: The metrics so far.
        best: The best weights so far.
    """

    def __init__(
        self,
        module: StageModule,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        scaler: GradScaler | None,
        log: EpochLog,
        best: BestWeights,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scaler = scaler
        self.log = log
        self.best = best
        self.epoch = 0
        """The current epoch, counted from 0."""
        self.position = 0
        """Completed steps of the current epoch."""
        self.step = 0
        """Completed steps in total."""
        self.skipped = 0
        """Updates that were skipped because their gradients were not finite."""
        self.seconds_before = 0.0
        """Seconds that the stage took before it was interrupted."""
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds that the stage has taken, excluding interruptions."""
        return self.seconds_before + time.perf_counter() - self._start

    def record(self, stage: str, fabric: Fabric, steps_were: str | None = None) -> StageRecord:
        """The record of the finished stage, with how its steps were taken."""
        history = self.log.history
        return StageRecord(
            stage=stage,
            epochs=len(history),
            kept_epoch=self.best.epoch if self.best.keeps else len(history) - 1,
            steps=self.step,
            seconds=self.seconds,
            history=history,
            device=str(fabric.device),
            processes=fabric.world_size,
            skipped_steps=self.skipped,
            steps_were=steps_were,
        )

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint; to be called on all processes, because each has its own losses."""
        return {
            "state_dict": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "log": self.log.state_dict(),
            "best": self.best.state_dict(),
            "epoch": self.epoch,
            "position": self.position,
            "global_step": self.step,
            "skipped": self.skipped,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: If it does not fit the module, the optimizer or scheduler.
        """
        self.module.load_state_dict(state["state_dict"])
        check_optimizer_state(self.optimizer, state["optimizer"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            check_state("scheduler", plain(self.scheduler.state_dict(), "scheduler"), state["scheduler"])
            self.scheduler.load_state_dict(state["scheduler"])
        if self.scaler is not None:
            check_state("scaler", self.scaler.state_dict(), state["scaler"])
            self.scaler.load_state_dict(state["scaler"])
        self.log.load_state_dict(state["log"])
        self.best.load_state_dict(state["best"])
        names = ("epoch", "position", "global_step", "skipped")
        self.epoch, self.position, self.step, self.skipped = (check_count(name, state[name]) for name in names)
        self.seconds_before = float(state["seconds"])
        shapes, kept = (
            {name: x.shape for name, x in each.items()} for each in (state["state_dict"], self.best.weights)
        )
        if kept and kept != shapes:
            raise ValueError("the weights of the best epoch are those of another module")


def check_count(name: str, value: Any) -> int:
    """Return a number of a checkpoint that counts something.

    Raises:
        ValueError: If it counts nothing.

    Example:
        >>> check_count("epoch", 3)
        3
    """
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} must be a whole number >= 0, but is {shown(value)}")
    return value
