"""When a stage saves, and where it goes on: always at the start of a dispatch, before anything happened with it."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from aepretrain.errors import StoppedError
from aepretrain.processes import adopt
from aepretrain.training.dispatches import Dispatches
from aepretrain.training.divergence import FiniteLoss
from aepretrain.training.options import Saving
from aepretrain.training.recovery.checkpoints import LAST
from aepretrain.training.recovery.signals import received, words
from aepretrain.training.recovery.stage_files import StageFiles


class SavePoints(Callback):
    """Save every so many minutes or steps, and when a signal asks the run to stop; then stop.

    The start of a dispatch is the one point where nothing is half done: the step before it is over with all its hooks,
    and so are validation and the end of the epoch before. What comes later is a function of what is saved, so a run
    that goes on from here ends with the same bits.

    Args:
        stage: The stage's name.
        saving: How often to save.
        files: The stage's files; ``None`` saves nothing, and only stops.
        finite: Looks at losses and weights before they are saved; ``None`` where that is not wanted.

    Raises:
        StoppedError: After a signal, at the start of the next dispatch, on all processes.
        DivergedError: If what is to be saved is not finite: the checkpoint before it stays.
    """

    def __init__(self, stage: str, saving: Saving, files: StageFiles | None, finite: FiniteLoss | None) -> None:
        self.stage = stage
        self.saving = saving
        self.files = files
        self.finite = finite
        self._figures: dict[str, Any] = {}
        self._goes_on_at: dict[str, int] | None = None
        self._place = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        adopt(trainer.strategy.launcher)
        if self._goes_on_at is not None:
            dispatches = trainer.fit_loop._data_source.instance
            assert isinstance(dispatches, Dispatches)
            dispatches.go_on(**self._goes_on_at)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        # Lightning forgets them, but a scheduler may read those of the last validation.
        trainer.callback_metrics.update(self._figures)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        due, signum = _agree(trainer, self._is_due(trainer.global_step), received())
        if (due or signum) and self.files is not None:
            if self.finite is not None:
                self.finite.check(trainer, pl_module)
            self._place = batch.start
            trainer.save_checkpoint(self.files.folder / LAST, weights_only=False)
            self._saved_at, self._saved_step = time.monotonic(), trainer.global_step
        if signum:
            saved = ", which is saved" if self.files is not None else ""
            raise StoppedError(
                f"stopped by {words(signum)} in {self.stage} before step {trainer.global_step}{saved}.", signum
            )

    def _is_due(self, step: int) -> bool:
        every_steps, every_minutes = self.saving.every_steps, self.saving.every_minutes
        if self.files is None or step == self._saved_step:
            return False
        if every_steps is not None and step % every_steps == 0:
            return True
        return every_minutes is not None and time.monotonic() - self._saved_at >= 60 * every_minutes

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        _count_as_before_the_dispatch(loop, self._place)
        checkpoint["place"] = {"epoch": trainer.current_epoch, "step": self._place}
        if self.files is not None:
            checkpoint["metrics_bytes"] = self.files.state.metrics_bytes()
        checkpoint["figures"] = dict(trainer.callback_metrics)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._goes_on_at = checkpoint["place"]
        self._figures = {name: value.to(pl_module.device) for name, value in checkpoint["figures"].items()}
        if self.files is not None:
            self.files.state.cut_metrics(checkpoint["metrics_bytes"])


def _count_as_before_the_dispatch(loop: dict[str, Any], step: int) -> None:
    """Write Lightning's counters as they are between two of its batches, our dispatches: this one is not begun."""
    progress = loop["epoch_loop.batch_progress"]
    for part in ("total", "current"):
        progress[part]["ready"] = progress[part]["started"] = progress[part]["completed"]
    progress["is_last_batch"] = False
    if step == 0:
        for part in ("total", "current"):
            epochs = loop["epoch_progress"][part]
            epochs["ready"] = epochs["started"] = epochs["completed"] = epochs["processed"]


def _agree(trainer: Trainer, due: bool, signum: int) -> tuple[bool, int]:
    """Whether to save, and by which signal to stop: the same on all processes, whichever of them asks."""
    if trainer.world_size > 1:
        asked = torch.tensor([int(due), signum], device=trainer.strategy.root_device)
        distributed.all_reduce(asked, op=distributed.ReduceOp.MAX)
        due, signum = bool(asked[0]), int(asked[1])
    return due, signum
