"""Max-norm regularization: a bound on the norm of the incoming weights of each unit."""

from functools import singledispatch

import torch
from torch import nn


@singledispatch
def clip_norms_(module: nn.Module, most: float) -> None:
    r"""Rescale the incoming weights of each unit if their norm exceeds a bound.

    .. math:: w_j \leftarrow w_j \min(1, c / \lVert w_j \rVert)

    Args:
        module: A linear or convolutional layer (1-d or 2-d) with trainable weights. Other modules are left unchanged,
            and submodules are not visited. Other types of layer can register an implementation.
        most: The bound :math:`c`.

    Reference:
        Srivastava et al.: Dropout (2014), section 5.1.

    Example:
        >>> linear = nn.Linear(2, 1)
        >>> _ = linear.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> clip_norms_(linear, 1.0)
        >>> [round(w, 4) for w in linear.weight.flatten().tolist()]
        [0.6, 0.8]
    """


@clip_norms_.register(nn.Linear)
@clip_norms_.register(nn.Conv1d)
@clip_norms_.register(nn.Conv2d)
@torch.no_grad()
def _(module: nn.Linear | nn.Conv1d | nn.Conv2d, most: float) -> None:
    if module.weight.requires_grad:
        module.weight.copy_(torch.renorm(module.weight, p=2, dim=0, maxnorm=most))
