"""Recorded updates that read the optimizer's settings at every step."""

from collections.abc import Iterator, Sequence, Set
from functools import partial
from typing import Any

from torch.optim import Optimizer

from aepretrain.training.acceleration.program import Call, calls
from aepretrain.training.acceleration.tape import Operation, place
from aepretrain.training.acceleration.torch_internals import fused_update

BETAS = ("beta1", "beta2")


def updates(operations: Sequence[Operation], written: Set[int], optimizer: Optimizer) -> Iterator[Call]:
    """Make the operations of an update callable; those with a learning rate take it from their parameter group.

    Args:
        operations: The recorded operations of ``optimizer.step``.
        written: See :func:`~aepretrain.training.acceleration.program.calls`.
        optimizer: The optimizer, fused.
    """
    for operation, call in calls(operations, written):
        yield FusedUpdate(operation, group_of(operation, optimizer)) if "lr" in operation.kwargs else call


def group_of(operation: Operation, optimizer: Optimizer) -> dict[str, Any]:
    """The parameter group that a fused operation updates."""
    first = place(operation.args[0][0])
    return next(
        group for group in optimizer.param_groups if any(place(weights) == first for weights in group["params"])
    )


class FusedUpdate:
    """A fused update of one parameter group, with the settings that the group has when it is called.

    Args:
        operation: The recorded update.
        group: The parameter group.
    """

    def __init__(self, operation: Operation, group: dict[str, Any]) -> None:
        self.operation = operation
        self.group = group
        self.names = [name for name in (*operation.kwargs, "betas") if name in group]
        self.settings: list[Any] = []
        self.update: Call

    def __call__(self) -> None:
        settings = [self.group[name] for name in self.names]
        if settings != self.settings:
            self.settings = settings
            now = dict(zip(self.names, settings, strict=True))
            now |= zip(BETAS, now.pop("betas", ()), strict=False)
            self.update = partial(
                fused_update(self.operation.function), *self.operation.args, **self.operation.kwargs | now
            )
        self.update()
