"""The training state of a stage: everything that determines how it continues."""

import time
from collections import Counter
from typing import Any, cast, get_args

from lightning.fabric import Fabric
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aepretrain.console import print_line
from aepretrain.layers.base import StageModule
from aepretrain.results.records import shown
from aepretrain.results.stage import StageRecord, StepMode
from aepretrain.storage.plain_values import plain
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.epoch_log import EpochLog
from aepretrain.training.recovery.saved_states import check_optimizer_state, check_state

CHANGED = "{stage}  steps were {before} until step {step} and are {mode} from here on: they may round in another way"


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
        self.step_mode: StepMode | None = None
        """How the stage takes most steps, those of whole batches or blocks of them; ``None`` before it begins."""
        self.step_modes: Counter[StepMode] = Counter()
        """Number of steps taken in each mode."""
        self.seconds_before = 0.0
        """Seconds that the stage took before it was interrupted."""
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds that the stage has taken, excluding interruptions."""
        return self.seconds_before + time.perf_counter() - self._start

    def change_mode(self, stage: str, mode: StepMode) -> None:
        """Take steps in this mode from now on; print a line if earlier steps were taken in another."""
        before = self.step_mode
        if before not in (None, mode) and self.step_modes[before]:
            print_line(CHANGED.format(stage=stage, before=before, mode=mode, step=self.step_modes.total()))
        self.step_mode = mode

    def record(self, stage: str, fabric: Fabric) -> StageRecord:
        """The record of the finished stage."""
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
            step_mode=self.step_mode,
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
            "step_mode": self.step_mode,
            "step_modes": dict(self.step_modes),
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
        # Checkpoints of earlier versions hold neither.
        self.step_mode = None if (mode := state.get("step_mode")) is None else check_mode(mode)
        taken = state.get("step_modes", {})
        self.step_modes = Counter({check_mode(mode): check_count(mode, steps) for mode, steps in taken.items()})
        self.seconds_before = float(state["seconds"])
        shapes, kept = (
            {name: x.shape for name, x in each.items()} for each in (state["state_dict"], self.best.weights)
        )
        if kept and kept != shapes:
            raise ValueError("the weights of the best epoch are those of another module")


def check_mode(value: Any) -> StepMode:
    """Return the mode of steps in a checkpoint.

    Raises:
        ValueError: If it is none.

    Example:
        >>> check_mode("recorded")
        'recorded'
    """
    if value not in get_args(StepMode):
        raise ValueError(f"a mode of steps must be {', '.join(get_args(StepMode))}, but is {shown(value)}")
    return cast(StepMode, value)


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
