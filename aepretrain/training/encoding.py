"""Run finished layers over a whole data set, once."""

import torch
from torch import Tensor, nn

from aepretrain.data.rows import Inputs, in_order

ENCODING_BATCH = 4096


@torch.no_grad()
def encode_dataset(f: nn.Module, x: Inputs, *, device: str = "cpu") -> Tensor:
    """The codes of a whole data set, in full precision, without noise and without gradients.

    Args:
        f: Encoder ``(B, *in_shape) -> (B, *code_shape)``; it is put into evaluation mode and back onto the CPU.
        x: Inputs, shape ``(N, *in_shape)``.
        device: Where to compute, and where the codes stay.

    Returns:
        Codes, shape ``(N, *code_shape)``.

    Example:
        >>> encode_dataset(nn.Linear(4, 2), torch.rand(10, 4)).shape
        torch.Size([10, 2])
    """
    f.eval().to(device)
    codes = torch.cat([f(batch.to(device)) for batch in in_order(x, ENCODING_BATCH)])
    f.cpu()
    return codes
