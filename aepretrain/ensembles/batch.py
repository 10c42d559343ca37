"""Many modules of one architecture as one batched module: the same computation with separate weights."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop, Rprop
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aepretrain.ensembles.linear import SeedLinear, SeedTransposed
from aepretrain.layers.base import StageModule
from aepretrain.parts.dense import Transposed

ELEMENTWISE_OPTIMIZERS = (ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop)


class SeedBatch(StageModule, ABC):
    r"""S modules that differ only in their weights, trained side by side.

    .. math:: \min \; \sum_s \mathbb E_x \, \ell_s(x)

    The terms share no weights, so seeds have independent gradients, and an elementwise optimizer takes the same steps
    as S separate optimizers. A batch holds the rows of seed 0, then those of seed 1, and so on, equally many of each.
    Subclasses implement the validation metrics of each seed.

    Args:
        modules: The modules; their affine maps hold all of their weights. The weights are copied; :meth:`write_back`
            copies the trained weights back.
    """

    def __init__(self, modules: Sequence[StageModule]) -> None:
        super().__init__(modules[0].optimizer, modules[0].scheduler)
        self.seeds = len(modules)
        self.model: Any = _side_by_side(modules)
        self.monitor, self.mode = modules[0].monitor, modules[0].mode

    @abstractmethod
    def validation_totals(self) -> dict[str, Tensor]:
        """Metrics over all examples of each seed: name to values, shape ``(S,)``."""

    def loss(self, *batch: Tensor) -> Tensor:
        return self.model.loss(*batch)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each seed's examples: shape ``(S * B,)`` to ``(S,)``."""
        return values.reshape(self.seeds, -1).mean(dim=1)

    def make_optimizer(self) -> Optimizer:
        return self.model.make_optimizer()

    def write_back(self, modules: Sequence[StageModule]) -> None:
        """Copy each seed's weights into its module."""
        for name, module in self.model.named_modules():
            own: list[Any] = [each.get_submodule(name) for each in modules]
            if isinstance(module, SeedLinear):
                module.write_back(own)
            elif isinstance(module, SeedTransposed):
                module.write_back([each.bias for each in own])


def reason_optimizer_not_batchable(module: StageModule) -> str | None:
    """Return why a module's optimizer or scheduler cannot be used for many seeds; ``None`` if both can."""
    made: Any = module.configure_optimizers()
    optimizer, scheduler = (
        (made["optimizer"], made["lr_scheduler"]["scheduler"]) if isinstance(made, dict) else (made, None)
    )
    if type(optimizer) not in ELEMENTWISE_OPTIMIZERS:
        return f"the optimizer {type(optimizer).__name__} does not treat every weight by itself"
    if isinstance(scheduler, ReduceLROnPlateau):
        return "the scheduler ReduceLROnPlateau goes by the figures of one seed"
    return None


def _side_by_side(modules: Sequence[StageModule]) -> StageModule:
    """Copy the first module, with its affine maps replaced by the batched maps of all modules."""
    model = copy.deepcopy(modules[0])
    linears: dict[int, SeedLinear] = {}
    for name, module in modules[0].named_modules():
        own: list[Any] = [each.get_submodule(name) for each in modules]
        if isinstance(module, nn.Linear):
            linears[id(module.weight)] = linear = SeedLinear(own)
            model.set_submodule(name, linear)
        elif isinstance(module, Transposed):
            tied = SeedTransposed(linears[id(module.weight)], [each.bias for each in own])
            model.set_submodule(name, tied)
    return model
