"""Stop where a loss is no longer finite, without waiting for the device at every step."""

import json
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed
from torch.optim import Optimizer

from aepretrain.errors import DivergedError
from aepretrain.processes import is_first_process
from aepretrain.storage.files import write_whole
from aepretrain.training.dispatches import Dispatches
from aepretrain.training.recovery.stage_files import StageFiles

CAUSES = "Lower the learning rate of this stage, or look for extreme values in the data."


class FiniteLoss(Callback):
    """Look at the losses of every dispatch, and at the weights before every checkpoint and after the last epoch.

    Args:
        stage: The stage's name.
        files: Where ``diverged.json`` names the examples of the offending batch; ``None`` writes nothing.

    Raises:
        DivergedError: If a loss is not finite; the message names the step.
    """

    def __init__(self, stage: str, files: StageFiles | None) -> None:
        self.stage = stage
        self.files = files

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        losses = outputs["losses"].float()
        if trainer.world_size > 1:
            gathered = [torch.empty_like(losses) for _ in range(trainer.world_size)]
            distributed.all_gather(gathered, losses)
            losses = torch.stack(gathered).sum(dim=0)
        # A sum is finite unless one of them is not, or it overflows: then each is looked at.
        if not losses.sum().isfinite() and len(bad := (~losses.isfinite()).nonzero()):
            first = tuple(bad[0])
            self._fail(trainer, batch.start + int(first[0]), losses[first].item())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.check(trainer, pl_module)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that what is saved is finite.

        Raises:
            DivergedError: If a weight is not finite.
        """
        finite = torch.stack([parameter.isfinite().all() for parameter in pl_module.parameters()]).all()
        if not finite:
            raise DivergedError(
                f"{self.stage}: step {trainer.global_step} left weights that are not finite, after a loss that was: "
                f"its gradient overflowed. {CAUSES}"
            )

    def _fail(self, trainer: Trainer, batch_idx: int, loss: float) -> None:
        epoch, dispatches = trainer.current_epoch, trainer.train_dataloader
        assert isinstance(dispatches, Dispatches)
        step = epoch * dispatches.steps + batch_idx
        where = ""
        if self.files is not None:
            path = self.files.folder / "diverged.json"
            where = f" The batch's examples are listed in {path}."
            if is_first_process():
                facts = {"stage": self.stage, "epoch": epoch, "batch": batch_idx, "step": step, "loss": str(loss)}
                rows = dispatches.batches.rows(epoch, batch_idx).tolist()
                write_whole(path, (json.dumps({**facts, "examples": rows}) + "\n").encode())
        raise DivergedError(f"{self.stage}: the loss of epoch {epoch + 1}, step {step}, is {loss}. {CAUSES}{where}")


class SkipUpdates(Callback):
    """Leave out every update whose gradients are not finite, and count. Each look at them waits for the device."""

    def __init__(self) -> None:
        self.skipped = 0

    def look(self, optimizer: Optimizer) -> None:
        """Take the gradients away from an update that would not be finite."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradients and not torch.stack([gradient.isfinite().all() for gradient in gradients]).all():
            # An optimizer leaves alone what has no gradient: no momentum, no weight decay.
            optimizer.zero_grad(set_to_none=True)
            self.skipped += 1

    def state_dict(self) -> dict[str, int]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skipped = state_dict["skipped"]
