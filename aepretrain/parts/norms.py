"""Norms of weights: a bound on the incoming weights of each unit, and outgoing weights of norm 1."""

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


@torch.no_grad()
def unit_norms_(linear: nn.Linear) -> None:
    r"""Rescale the outgoing weights of each unit to norm 1, :math:`v_j \leftarrow v_j / \lVert v_j \rVert`.

    Args:
        linear: The map from a code ``(B, H)``, weight ``(D, H)``, whose columns are the :math:`v_j`.

    Reference:
        Bricken et al.: Towards Monosemanticity (2023), appendix on autoencoder training.

    Example:
        >>> linear = nn.Linear(1, 2)
        >>> _ = linear.weight.data.copy_(torch.tensor([[3.0], [4.0]]))
        >>> unit_norms_(linear)
        >>> [round(w, 4) for w in linear.weight.flatten().tolist()]
        [0.6, 0.8]
    """
    linear.weight.div_(torch.linalg.vector_norm(linear.weight, dim=0).clamp(min=1e-12))
