"""Validation metrics: means over all examples of all processes."""

from collections.abc import Mapping

import torch
from lightning.fabric import Fabric
from torch import Tensor

from aepretrain.data.batches import Batches
from aepretrain.layers.base import StageModule
from aepretrain.parts.precision import at_least_float32
from aepretrain.training.devices import sum_over_processes
from aepretrain.training.noise import KeyedNoise

Metrics = Mapping[str, Tensor]
"""Name to value, shape ``()``; for an ensemble ``(S,)``."""


@torch.no_grad()
def validate(module: StageModule, batches: Batches, noise: KeyedNoise, fabric: Fabric) -> Metrics:
    r"""Measure a module in evaluation mode, then set it back to training mode.

    .. math:: \bar v = \frac{\sum_b n_b v_b}{\sum_b n_b}

    over the batches b of all processes, with their sizes :math:`n_b`.

    Args:
        module: The module to measure.
        batches: The validation examples.
        noise: Noise of the stage; every validation draws the same.
        fabric: The Fabric, which sets the devices and the precision.

    Returns:
        ``val/NAME`` to value, for every metric that the module measures.
    """
    module.eval()
    noise.key_validation()
    sums: dict[str, Tensor] = {}
    examples = 0
    for batch in batches:
        with fabric.autocast():
            values = module.validation_values(*batch)
        count = len(batch[0])
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + at_least_float32(module.mean(value)) * count
        examples += count
    means = _mean_of_all(sums, examples, fabric) | module.validation_totals()
    module.train()
    return {f"val/{name}": value for name, value in means.items()}


def _mean_of_all(sums: dict[str, Tensor], examples: int, fabric: Fabric) -> dict[str, Tensor]:
    """Means over the examples of all processes, from this process's sums over ``examples`` examples."""
    totals = torch.stack(list(sums.values()))
    counts = torch.full_like(totals, examples)
    totals, counts = sum_over_processes(fabric, torch.stack([totals, counts]))
    return dict(zip(sums, (totals / counts).unbind(), strict=True))
