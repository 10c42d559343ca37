"""Recorded steps: an optimizer step is traced once and then repeated without Python's and autograd's overhead."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from aepretrain.console import print_line
from aepretrain.training.acceleration.products import is_plain_sgd, may_update_products, update_products
from aepretrain.training.acceleration.program import calls
from aepretrain.training.acceleration.tape import Operation, Tape, place
from aepretrain.training.acceleration.updates import updates

if TYPE_CHECKING:
    from aepretrain.training.loop import OptimizerStep

LAUNCHED = "{stage}  steps are not recorded: {reason}"


class RecordedStep:
    """An optimizer step that is recorded when a shape of batches comes up, and repeated from then on.

    The recording holds the tensor operations of forward pass, backward pass, clipping and update, on the memory of the
    weights, the optimizer's state and a batch. Repeating them runs the same kernels in the same order, hence gives the
    same bits; only the large matrices of plain SGD are updated by other kernels, see
    :mod:`~aepretrain.training.acceleration.products`. Noise comes from generators that are seeded before every step,
    and the optimizer's settings are read from its parameter groups at every step.

    Args:
        step: The optimizer step; see :func:`~aepretrain.training.acceleration.recordable.record_if_possible`.
        stage: Name of the stage, for the message when a step turns out not to be recordable.
    """

    def __init__(self, step: "OptimizerStep", stage: str) -> None:
        self.step = step
        self.stage = stage
        self.reason: str | None = None
        """Why steps are launched after all."""
        self._recordings: dict[Any, Recording] = {}
        self._has_state = is_plain_sgd(step.optimizer)  # other optimizers make it in their first step

    def __call__(self, batch: Sequence[Tensor], epoch: int, position: int, weight: float = 1.0) -> Tensor:
        """Take the step, as :class:`~aepretrain.training.loop.OptimizerStep` does."""
        kind = (weight, *((tensor.shape, tensor.dtype) for tensor in batch))
        if (recording := self._recordings.get(kind)) is not None:
            self.step.noise.key(epoch, position)
            return recording.repeat(batch)
        if self.reason is None and self._has_state:
            return self._record(kind, batch, epoch, position, weight)
        self._has_state = True
        return self.step.launch(batch, epoch, position, weight)

    def _record(self, kind: Any, batch: Sequence[Tensor], epoch: int, position: int, weight: float) -> Tensor:
        step, batch = self.step, [tensor.clone() for tensor in batch]
        undo = _undoing(step.state.module) if may_update_products(step.optimizer) else None
        with Tape() as gradients:
            loss = step.gradients(batch, epoch, position, weight)
        with Tape() as update:
            step.optimizer.step()
        self.reason = gradients.reason or update.reason
        if self.reason is not None:
            print_line(LAUNCHED.format(stage=self.stage, reason=self.reason))
            return loss
        recording = Recording(batch, loss, gradients.operations, update.operations, step.optimizer)
        self._recordings[kind] = recording
        if undo is None:
            return loss.clone()
        # The first step of this shape, too, takes the kernels of all later ones: a run that goes on records again.
        undo()
        step.noise.key(epoch, position)
        return recording.repeat(batch)


class Recording:
    """A recorded step.

    Args:
        batch: The recorded batch.
        loss: The recorded loss.
        gradients: The operations of the forward and backward pass.
        update: The operations of the update.
        optimizer: The optimizer, whose settings are read at every step.
    """

    def __init__(
        self,
        batch: Sequence[Tensor],
        loss: Tensor,
        gradients: Sequence[Operation],
        update: Sequence[Operation],
        optimizer: Optimizer,
    ) -> None:
        self.batch = batch
        self.loss = loss
        gradients, products, update = update_products(gradients, update, optimizer)
        written = {place(tensor) for operation in (*gradients, *update) for tensor in operation.written}
        self.calls = [call for _, call in calls(gradients, written)] + products
        self.calls += updates(update, written, optimizer)

    def repeat(self, batch: Sequence[Tensor]) -> Tensor:
        """Take the step with another batch of the same shape; return its loss, before the update."""
        for recorded, tensor in zip(self.batch, batch, strict=True):
            recorded.copy_(tensor)
        for call in self.calls:
            call()
        return self.loss.clone()


def _undoing(module: torch.nn.Module) -> Callable[[], None]:
    """Remember the weights and buffers of a module; return the function that restores them."""
    kept = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers())]

    def undo() -> None:
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)

    return undo
