"""A bound on the norm of the weights that lead into a unit."""

from functools import singledispatch

import torch
from torch import nn


@singledispatch
def bound_norms(module: nn.Module, most: float) -> None:
    """Scale down the weights into each unit whose norm is above ``most``. Modules without such weights stay."""


@bound_norms.register
@torch.no_grad()
def _(module: nn.Linear, most: float) -> None:
    if module.weight.requires_grad:
        module.weight.copy_(torch.renorm(module.weight, p=2, dim=0, maxnorm=most))
