"""Numerical precision: losses and penalties are computed in float32 or wider, whatever the network's precision."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Convert bfloat16 and float16 to float32, and return wider types unchanged.

    Example:
        >>> at_least_float32(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
        >>> at_least_float32(torch.zeros(2, dtype=torch.float64)).dtype
        torch.float64
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
