"""Recorded steps: an optimizer step is traced once and then repeated without Python's and autograd's overhead."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from aepretrain.console import print_line
from aepretrain.training.acceleration.compiled import CompiledBlock, block_length, compile_block
from aepretrain.training.acceleration.products import may_update_products, update_products
from aepretrain.training.acceleration.program import calls
from aepretrain.training.acceleration.tape import Operation, Tape, place, tensors_in
from aepretrain.training.acceleration.updates import updates

if TYPE_CHECKING:
    from aepretrain.training.loop import OptimizerStep

OFTEN = 6
"""Recording costs as much time as it saves in about six steps, and the memory of one step."""
LAUNCHED = "{stage}  steps are not recorded: {reason}"


class RecordedStep:
    """An optimizer step that is recorded when a shape of batches comes up often, and repeated from then on.

    Often is twice in a row, or more than ``OFTEN`` times in all, as that of the last batch of an epoch may.

    The recording holds the tensor operations of forward pass, backward pass, clipping and update, on the memory of the
    weights, the optimizer's state and a batch. Repeating them runs the same kernels in the same order, hence gives the
    same bits; only the large matrices of plain SGD are updated by other kernels, see
    :mod:`~aepretrain.training.acceleration.products`. Noise comes from generators that are seeded before every step
    that draws any, and the optimizer's settings are read from its parameter groups at every step.

    Steps that are compiled, see :mod:`~aepretrain.training.acceleration.compiled`, come in blocks: the whole batches of
    an epoch in groups, from the first on, without the group in which the optimizer's state is made. So a resumed run
    takes the same steps compiled, if it was saved between two blocks: chunks end with a block.

    Args:
        optimizer: The optimizer of the step.
        stage: Name of the stage, for the message when a step turns out not to be recordable.
        is_whole: Whether a batch is whole, by its number in its epoch, if whole ones are compiled; ``None``: none is.
    """

    def __init__(self, optimizer: Optimizer, stage: str, is_whole: Callable[[int], bool] | None = None) -> None:
        self.stage = stage
        self.is_whole = is_whole
        self._length = block_length(optimizer)
        self.reason: str | None = None
        """Why steps are launched after all."""
        self._recordings: dict[Any, Recording] = {}
        self._compiled: CompiledBlock | None = None
        # Steps that take other kernels are recorded at once: a run that goes on must take them in every step, too.
        self._other_kernels = may_update_products(optimizer)
        self._last: Any = None
        self._launched = Counter[Any]()

    @property
    def block(self) -> int:
        """Steps in a compiled block; 1 if none is compiled."""
        return 1 if self.is_whole is None else self._length

    def __call__(
        self, step: "OptimizerStep", batch: Sequence[Tensor], epoch: int, position: int, weight: float
    ) -> Tensor:
        """Take a step, as :class:`~aepretrain.training.loop.OptimizerStep` does."""
        compiles = self._compiles(epoch, position)
        if compiles and self._compiled is not None:
            self._last = None
            step.noise.key(epoch, position)
            step.state.step_modes["compiled"] += 1
            return self._compiled.take(batch)
        kind = (weight, *((tensor.shape, tensor.dtype) for tensor in batch))
        if not compiles and (recording := self._recordings.get(kind)) is not None:
            self._last = kind
            if recording.draws:
                step.noise.key(epoch, position)
            step.state.step_modes["recorded"] += 1
            return recording.repeat(batch)
        is_often = kind == self._last or self._launched[kind] == OFTEN
        self._last = kind
        if self.reason is None and (is_often or compiles or self._other_kernels):
            return self._record(step, kind, batch, epoch, position, weight, compiles=compiles)
        self._launched[kind] += 1
        return step.launch(batch, epoch, position, weight)

    def _compiles(self, epoch: int, position: int) -> bool:
        """Whether a step belongs to a compiled block, which was not begun by other steps."""
        if self.is_whole is None:
            return False
        number = position % self._length
        first = position - number
        has_state = (epoch, first) != (0, 0) or self._other_kernels
        is_next = number == (0 if self._compiled is None else self._compiled.prepared)
        return is_next and has_state and self.is_whole(first + self._length - 1)

    def _record(
        self,
        step: "OptimizerStep",
        kind: Any,
        batch: Sequence[Tensor],
        epoch: int,
        position: int,
        weight: float,
        *,
        compiles: bool,
    ) -> Tensor:
        batch = [tensor.clone() for tensor in batch]
        undo = _undoing(step.state.module, step.optimizer) if compiles or self._other_kernels else None
        with Tape() as gradients:
            loss = step.gradients(batch, epoch, position, weight)
        with Tape() as update:
            step.optimizer.step()
        self.reason = gradients.reason or update.reason
        if self.reason is not None:
            print_line(LAUNCHED.format(stage=self.stage, reason=self.reason))
            if compiles:
                self.is_whole = None
            if not self._recordings and self._compiled is None:  # those of other shapes are still repeated
                step.state.change_mode(self.stage, "launched")
            step.state.step_modes["launched"] += 1
            return loss
        recorded = (batch, loss, gradients.operations, update.operations, step.optimizer)
        if compiles:
            self._compiled = compile_block(self.stage, *recorded)
            if self._compiled is None:
                self.is_whole = None
                step.state.change_mode(self.stage, "recorded")
        if self._compiled is None or not compiles:
            self._recordings[kind] = Recording(*recorded)
        if undo is None:
            step.state.step_modes["launched"] += 1
            return loss.clone()
        undo()
        return self(step, batch, epoch, position, weight)


class Recording:
    """A recorded step.

    Args:
        batch: The recorded batch.
        loss: The recorded loss.
        gradients: The operations of the forward and backward pass.
        update: The operations of the update.
        optimizer: The optimizer, whose settings are read at every step.

    Attributes:
        draws: Whether the step draws random numbers.
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
        self.draws = any(operation.is_random for operation in (*gradients, *update))
        gradients, products, update = update_products(gradients, update, optimizer)
        written = {place(tensor) for operation in (*gradients, *update) for tensor in operation.written}
        self.calls = [call for _, call in calls(gradients, written)]
        self.calls += [*products, *updates(update, written, optimizer)]

    def repeat(self, batch: Sequence[Tensor]) -> Tensor:
        """Take the step with another batch of the same shape; return its loss, before the update."""
        for recorded, tensor in zip(self.batch, batch, strict=True):
            recorded.copy_(tensor)
        for call in self.calls:
            call()
        return self.loss.clone()


def _undoing(module: torch.nn.Module, optimizer: Optimizer) -> Callable[[], None]:
    """Remember weights, buffers and the optimizer's state; return the function that restores them."""
    states = tensors_in([dict(state) for state in optimizer.state.values()])
    kept = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers(), *states)]

    def undo() -> None:
        with torch.no_grad():
            for tensor, before in kept:
                tensor.copy_(before)

    return undo
