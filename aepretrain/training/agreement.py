"""Check that all processes hold the same weights; else only those of one process would be saved."""

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from aepretrain.data.rows import byte_view
from aepretrain.errors import AEPretrainError
from aepretrain.training.devices import gather


def check_ranks_agree(module: nn.Module, fabric: Fabric) -> None:
    """Check, at the end of training, that all processes hold the same weights, bit for bit.

    Raises:
        AEPretrainError: If they differ.
    """
    if fabric.world_size == 1:
        return
    sums = gather(fabric, torch.stack([_bit_sum(tensor) for tensor in module.state_dict().values()]))
    if not (sums == sums[0]).all():
        raise AEPretrainError(
            "the processes ended with different weights, so gradients were not synchronized. "
            "Please report this with your config; training with one device works."
        )


def _bit_sum(tensor: Tensor) -> Tensor:
    """Position-weighted sum of a tensor's bytes: it changes if one bit flips or two different bytes swap places."""
    values = byte_view(tensor).to(torch.int64)
    return (values * torch.arange(1, len(values) + 1, device=tensor.device)).sum()
