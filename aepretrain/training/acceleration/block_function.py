"""A block of recorded steps as a function of the tensors that they read, so that a compiler can trace it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from aepretrain.training.acceleration.draws import places_drawn, reason_not_drawn_before, without_draws
from aepretrain.training.acceleration.products import update_products
from aepretrain.training.acceleration.program import calls
from aepretrain.training.acceleration.tape import Operation, map_tensors, place
from aepretrain.training.acceleration.torch_internals import has_memory
from aepretrain.training.acceleration.written_updates import RULES, WrittenUpdate

View = tuple[Any, ...]
Values = dict[View, Tensor]


class BlockFunction:
    r"""The operations of K steps as a function; it changes weights, buffers and the optimizer's state in place.

    .. math:: (\theta, x_{1:K}, \epsilon_{1:K}, \eta_{1:K}) \mapsto \ell_{1:K}, \qquad
              \ell_k = \ell(\theta; x_k, \epsilon_k), \quad \theta \leftarrow \theta - \eta_k \, u(\nabla_\theta \ell_k)

    Batches :math:`x`, noise :math:`\epsilon` and the optimizer's settings :math:`\eta` of every step are inputs:
    :meth:`prepare` gathers them, one step at a time.

    Args:
        batch: The recorded batch.
        loss: The recorded loss.
        gradients: The operations of the forward and backward pass.
        update: The operations of the update.
        optimizer: The optimizer, fused.
        steps: Number of steps K.

    Attributes:
        inputs: The tensors that the function takes, always on the same memory.
        products: Updates of large matrices by plain SGD, for blocks of one step: the function returns their factors and
            leaves the rest to :mod:`~aepretrain.training.acceleration.products`.
        reason: Why the operations are no such function; ``None`` if they are.
    """

    def __init__(
        self,
        batch: Sequence[Tensor],
        loss: Tensor,
        gradients: Sequence[Operation],
        update: Sequence[Operation],
        optimizer: Optimizer,
        steps: int = 1,
    ) -> None:
        self.batch = batch
        self.loss = loss
        self.steps = steps
        gradients, self.products, update = update_products(gradients, update, optimizer)
        self._gradients = without_draws(gradients)
        self._update = [WrittenUpdate(each, optimizer) if each.name in RULES else each for each in update]
        self._written_out = [each for each in self._update if isinstance(each, WrittenUpdate)]
        self._drawn = places_drawn(gradients)
        self._draws = [call for each, call in calls(gradients, self._drawn) if each.is_random]
        settings = torch.tensor([self._present_settings()] * steps)
        self._settings = settings.numpy()
        self._read = list(self._views_read().values())
        changing = {place(tensor) for tensor in batch} | self._drawn
        self._changes = [place(tensor) in changing for tensor in self._read]
        blocks = [
            torch.stack([tensor] * steps) if changes else tensor
            for tensor, changes in zip(self._read, self._changes, strict=True)
        ]
        pairs = [pair for *pair, changes in zip(self._read, blocks, self._changes, strict=True) if changes]
        self._copies = [[(block[step], recorded) for recorded, block in pairs] for step in range(steps)]
        self.inputs = [*blocks, settings]
        self.reason = reason_not_drawn_before(gradients) or self._reason()

    def prepare(self, batch: Sequence[Tensor], step: int) -> None:
        """Gather what a step of the block takes: its batch, its noise, and the optimizer's present settings."""
        for recorded, tensor in zip(self.batch, batch, strict=True):
            recorded.copy_(tensor)
        for draw in self._draws:
            draw()
        for own, recorded in self._copies[step]:
            own.copy_(recorded)
        self._settings[step] = self._present_settings(ahead=step)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The losses before each update, shape ``(K,)``, then the factors of the products, two for each."""
        *read, settings = inputs
        values = {view(recorded): value for recorded, value in zip(self._read, read, strict=True)}
        losses = []
        for step in range(self.steps):
            for recorded, changes, value in zip(self._read, self._changes, read, strict=True):
                if changes:
                    # A clone, or noise that is changed in place would be written back.
                    values[view(recorded)] = value[step].clone() if place(recorded) in self._drawn else value[step]
            losses.append(self._step(values, settings[step]))
        factors = [factor for product in self.products for factor in (product.left, product.right)]
        return [torch.stack(losses), *(_look_up(factor, values) for factor in factors)]

    def _step(self, values: Values, settings: Tensor) -> Tensor:
        for operation in self._gradients:
            _repeat(operation, values)
        loss = _look_up(self.loss, values)
        numbers = iter(settings.unbind())
        for each in self._update:
            if isinstance(each, WrittenUpdate):
                each.apply(lambda tensor: _look_up(tensor, values), numbers)
            else:
                _repeat(each, values)
        return loss

    def _present_settings(self, ahead: int = 0) -> list[float]:
        return [value for each in self._written_out for value in each.settings(ahead).values()]

    @property
    def _operations(self) -> list[Operation]:
        update = (each.operation if isinstance(each, WrittenUpdate) else each for each in self._update)
        return [*self._gradients, *update]

    def _views_read(self) -> Values:
        """The tensors that operations read and none of them returns, in order of their first use."""
        read: Values = {}
        returned: set[View] = set()
        for operation in self._operations:
            for tensor in operation.inputs:
                if has_memory(tensor) and view(tensor) not in returned:
                    read.setdefault(view(tensor), tensor)
            returned |= {view(result) for result in operation.results}
        return read

    def _reason(self) -> str | None:
        written = {place(tensor) for operation in self._operations for tensor in operation.written}
        changing = [tensor for tensor, changes in zip(self._read, self._changes, strict=True) if changes]
        if not all(tensor.is_contiguous() for tensor in changing):
            return "its batch or its noise does not lie in memory in one piece"
        times = Counter(place(tensor) for tensor in self._read)
        if any(times[where] > 1 for where in written):
            return "it changes memory that it reads in several views"
        return next((each.reason for each in self._written_out if each.reason), None)


def view(tensor: Tensor) -> View:
    """What tells views of memory apart."""
    return place(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _repeat(operation: Operation, values: Values) -> None:
    """Repeat an operation on other tensors than the recorded ones, and keep what it returns."""
    args, kwargs = map_tensors(lambda tensor: _look_up(tensor, values), (operation.args, operation.kwargs))
    _keep(operation.returned, operation.function(*args, **kwargs), values)


def _look_up(tensor: Tensor, values: Values) -> Tensor:
    if tensor.is_meta:
        return tensor
    return values[view(tensor)] if has_memory(tensor) else torch.zeros(tensor.shape, dtype=tensor.dtype)


def _keep(recorded: Any, returned: Any, values: Values) -> None:
    if isinstance(recorded, Tensor):
        if has_memory(recorded):
            values[view(recorded)] = returned
    elif isinstance(recorded, list | tuple):
        for one, other in zip(recorded, returned, strict=True):
            _keep(one, other, values)
