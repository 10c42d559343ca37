"""All processes hold the same weights, or what would be saved is that of one process alone."""

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from aepretrain.data.rows import byte_view
from aepretrain.errors import AEPretrainError
from aepretrain.training.devices import gather


def check_ranks_agree(module: nn.Module, fabric: Fabric) -> None:
    """See, when training ends, that all processes hold the same weights, bit for bit.

    Raises:
        AEPretrainError: If they do not.
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
    """A sum of the bytes of a tensor, weighted by their places: it differs if one bit does, or two values change."""
    values = byte_view(tensor).to(torch.int64)
    return (values * torch.arange(1, len(values) + 1, device=tensor.device)).sum()
