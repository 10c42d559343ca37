"""A recorded step as a function of the tensors that it reads, so that a compiler can trace it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from aepretrain.training.acceleration.draws import places_drawn, reason_not_drawn_before, without_draws
from aepretrain.training.acceleration.products import update_products
from aepretrain.training.acceleration.program import calls
from aepretrain.training.acceleration.tape import Operation, place
from aepretrain.training.acceleration.torch_internals import has_memory, map_tensors
from aepretrain.training.acceleration.written_updates import RULES, WrittenUpdate

View = tuple[Any, ...]
Values = dict[View, Tensor]


class StepFunction:
    r"""The operations of a step as a function; it changes weights, buffers and the optimizer's state in place.

    .. math:: (\theta, x, \epsilon, \eta) \mapsto \ell(\theta; x, \epsilon), \qquad
              \theta \leftarrow \theta - \eta \, u(\nabla_\theta \ell)

    The noise :math:`\epsilon` and the optimizer's settings :math:`\eta` are inputs: :meth:`prepare` computes them.

    Args:
        loss: The recorded loss.
        gradients: The operations of the forward and backward pass.
        update: The operations of the update.
        optimizer: The optimizer, fused.

    Attributes:
        inputs: The tensors that the function takes, always on the same memory.
        products: Updates of large matrices by plain SGD: the function returns their factors and leaves the rest to
            :mod:`~aepretrain.training.acceleration.products`.
        reason: Why the operations are no such function; ``None`` if they are.
    """

    def __init__(
        self, loss: Tensor, gradients: Sequence[Operation], update: Sequence[Operation], optimizer: Optimizer
    ) -> None:
        self.loss = loss
        gradients, self.products, update = update_products(gradients, update, optimizer)
        self._gradients = without_draws(gradients)
        self._update = [WrittenUpdate(each, optimizer) if each.name in RULES else each for each in update]
        self._drawn = places_drawn(gradients)
        self._draws = [call for each, call in calls(gradients, self._drawn) if each.is_random]
        settings = torch.tensor(self._present_settings())
        self._settings = settings.numpy()
        self._read = list(self._views_read().values())
        self.inputs = [*self._read, settings]
        self.reason = reason_not_drawn_before(gradients) or self._reason()

    def prepare(self) -> None:
        """Draw the noise of the next step, and read the optimizer's settings."""
        for draw in self._draws:
            draw()
        self._settings[:] = self._present_settings()

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The loss before the update, then the factors of the products, two for each."""
        *read, settings = inputs
        values = {view(recorded): value for recorded, value in zip(self._read, read, strict=True)}
        for recorded in self._read:
            if place(recorded) in self._drawn:  # or noise that is changed in place would be written back
                values[view(recorded)] = values[view(recorded)].clone()
        for operation in self._gradients:
            _repeat(operation, values)
        factors = [factor for product in self.products for factor in (product.left, product.right)]
        results = [_look_up(tensor, values) for tensor in (self.loss, *factors)]
        numbers = iter(settings.unbind())
        for each in self._update:
            if isinstance(each, WrittenUpdate):
                each.apply(lambda tensor: _look_up(tensor, values), numbers)
            else:
                _repeat(each, values)
        return results

    @property
    def _written_out(self) -> list[WrittenUpdate]:
        return [each for each in self._update if isinstance(each, WrittenUpdate)]

    def _present_settings(self) -> list[float]:
        return [value for each in self._written_out for value in each.settings().values()]

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
