"""Stop where a loss is no longer finite, without waiting for the device at every step."""

import json
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from aepretrain.data.batches import Batches
from aepretrain.errors import DivergedError
from aepretrain.storage import write_whole
from aepretrain.training.processes import is_first_process
from aepretrain.training.stage_files import StageFiles

LOOK_EVERY = 50
"""Steps from one look at the losses to the next: each look waits for the device."""
CAUSES = "Lower the learning rate of this stage, or look for extreme values in the data."


class FiniteLoss(Callback):
    """Look at the losses of the last steps every 50 steps, at the end of an epoch and before every checkpoint.

    Args:
        stage: The stage's name.
        files: Where ``diverged.json`` names the examples of the offending batch; ``None`` writes nothing.

    Raises:
        DivergedError: If a loss is not finite; the message names the step.
    """

    def __init__(self, stage: str, files: StageFiles | None) -> None:
        self.stage = stage
        self.files = files
        self._recent: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._recent.append(outputs["loss"])
        if (batch_idx + 1) % LOOK_EVERY == 0:
            self._look(trainer, pl_module, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module, trainer.fit_loop.batch_idx)

    def check(self, trainer: Trainer, pl_module: LightningModule, batch_idx: int) -> None:
        """See that a checkpoint before batch ``batch_idx`` would hold finite numbers.

        Raises:
            DivergedError: If a loss or a weight is not finite.
        """
        self._look(trainer, pl_module, batch_idx - 1)
        finite = torch.stack([parameter.isfinite().all() for parameter in pl_module.parameters()]).all()
        if not finite:
            raise DivergedError(
                f"{self.stage}: step {trainer.global_step} left weights that are not finite, after a loss that was: "
                f"its gradient overflowed. {CAUSES}"
            )

    def _look(self, trainer: Trainer, pl_module: LightningModule, batch_idx: int) -> None:
        """Look at what came since the last look; ``batch_idx`` is the batch of the newest loss."""
        if not self._recent:
            return
        losses = torch.stack(self._recent).detach().float()
        first = batch_idx - len(self._recent) + 1
        self._recent = []
        if trainer.world_size > 1:
            gathered = [torch.empty_like(losses) for _ in range(trainer.world_size)]
            distributed.all_gather(gathered, losses)
            losses = torch.stack(gathered).sum(dim=0)
        bad = (~losses.isfinite()).nonzero()
        if len(bad):
            place = int(bad[0])
            self._fail(trainer, first + place, losses[place].item())

    def _fail(self, trainer: Trainer, batch_idx: int, loss: float) -> None:
        epoch, batches = trainer.current_epoch, trainer.train_dataloader
        assert isinstance(batches, Batches)
        step = epoch * len(batches) + batch_idx
        where = ""
        if self.files is not None:
            path = self.files.folder / "diverged.json"
            where = f" The batch's examples are listed in {path}."
            if is_first_process():
                facts = {"stage": self.stage, "epoch": epoch, "batch": batch_idx, "step": step, "loss": str(loss)}
                rows = batches.rows(epoch, batch_idx).tolist()
                write_whole(path, (json.dumps({**facts, "examples": rows}) + "\n").encode())
        raise DivergedError(f"{self.stage}: the loss of epoch {epoch + 1}, step {step}, is {loss}. {CAUSES}{where}")


class SkipUpdates(Callback):
    """Leave out every update whose gradients are not finite, and count. Each look at them waits for the device."""

    def __init__(self) -> None:
        self.skipped = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients and not torch.stack([gradient.isfinite().all() for gradient in gradients]).all():
            # An optimizer leaves alone what has no gradient: no momentum, no weight decay.
            optimizer.zero_grad(set_to_none=True)
            self.skipped += 1

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skipped = state_dict["skipped"]
