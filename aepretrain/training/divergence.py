"""Stop if a loss or a weight is not finite, without waiting for the device at every step."""

import json

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from aepretrain.errors import DivergedError
from aepretrain.processes import is_first_process
from aepretrain.storage.files import write_atomically
from aepretrain.training.chunks import Chunk
from aepretrain.training.devices import gather
from aepretrain.training.recovery.stage_files import StageFiles

ADVICE = "Lower the learning rate of this stage, or look for extreme values in the data."


def check_losses(
    losses: Tensor, chunk: Chunk, epoch: int, fabric: Fabric, stage: str, files: StageFiles | None
) -> None:
    """Check that the losses of a chunk, shape ``(K,)`` or ``(K, S)``, are finite in all processes.

    Args:
        losses: One value per step.
        chunk: The chunk that they come from.
        epoch: The epoch, counted from 0.
        fabric: The Fabric of the processes.
        stage: The stage's name.
        files: The stage's files, where ``diverged.json`` lists the examples of the batch; ``None`` writes nothing.

    Raises:
        DivergedError: If a loss is not finite; the message names the step.
    """
    losses = gather(fabric, losses.float()).sum(dim=0)
    # The sum is not finite if a loss is not or if it overflows; only then is every loss checked.
    if losses.sum().isfinite() or not len(bad := (~losses.isfinite()).nonzero()):
        return
    first = tuple(bad[0])
    position, loss = chunk.start + int(first[0]), losses[first].item()
    step = epoch * len(chunk.batches) + position
    where = ""
    if files is not None:
        path = files.folder / "diverged.json"
        where = f" The batch's examples are listed in {path}."
        if is_first_process():
            facts = {"stage": stage, "epoch": epoch, "batch": position, "step": step, "loss": str(loss)}
            rows = chunk.batches.rows(epoch, position).tolist()
            write_atomically(path, (json.dumps({**facts, "examples": rows}) + "\n").encode())
    raise DivergedError(f"{stage}: the loss of epoch {epoch}, step {step}, is {loss}. {ADVICE}{where}")


def check_weights(module: nn.Module, stage: str, step: int) -> None:
    """Check that all weights are finite.

    Raises:
        DivergedError: If a weight is not finite.
    """
    if not torch.stack([parameter.isfinite().all() for parameter in module.parameters()]).all():
        raise DivergedError(
            f"{stage}: step {step} left weights that are not finite, after a loss that was: its gradient overflowed. "
            f"{ADVICE}"
        )
