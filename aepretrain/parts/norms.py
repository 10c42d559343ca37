"""Max-norm: a bound on the weights that lead into a unit."""

from functools import singledispatch

import torch
from torch import nn


@singledispatch
def bound_norms(module: nn.Module, most: float) -> None:
    r"""Scale down the weights that lead into a unit where their norm is above a bound.

    .. math:: w_j \leftarrow w_j \min(1, c / \lVert w_j \rVert)

    Args:
        module: A linear map or a convolution whose weights are trained; all other modules stay as they are, and those
            inside a module are not looked for. Maps of other types register a function of their own.
        most: The bound :math:`c`.

    Reference:
        Srivastava et al.: Dropout (2014), section 5.1.

    Example:
        >>> linear = nn.Linear(2, 1)
        >>> _ = linear.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> bound_norms(linear, 1.0)
        >>> [round(w, 4) for w in linear.weight.flatten().tolist()]
        [0.6, 0.8]
    """


@bound_norms.register(nn.Linear)
@bound_norms.register(nn.Conv1d)
@bound_norms.register(nn.Conv2d)
@torch.no_grad()
def _(module: nn.Linear | nn.Conv1d | nn.Conv2d, most: float) -> None:
    if module.weight.requires_grad:
        module.weight.copy_(torch.renorm(module.weight, p=2, dim=0, maxnorm=most))
