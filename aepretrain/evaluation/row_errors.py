"""Errors of reconstructions, example by example."""

from collections.abc import Callable

import torch
from torch import Tensor

from aepretrain.data.rows import Inputs, in_order
from aepretrain.layers import CodingLayer
from aepretrain.results.row_errors import RowErrors


@torch.no_grad()
def errors_of(x: Inputs, reconstruct: Callable[[Tensor], tuple[Tensor, Tensor]]) -> RowErrors:
    """Measure reconstructions of examples ``(N, *in_shape)``.

    Args:
        x: The examples.
        reconstruct: Gives the reconstructions of a part, shape ``(B, *in_shape)``, and their loss in nats, ``(B,)``.

    Example:
        >>> errors_of(torch.ones(2, 3), lambda x: (0 * x, x.sum(dim=1))).squared_error.tolist()
        [3.0, 3.0]
    """
    squared_errors, nats = [], []
    for part in in_order(x, 1024):
        mean, loss = reconstruct(part)
        squared_errors.append((part.double() - mean.double()).square().flatten(1).sum(dim=1))
        nats.append(loss.double())
    return RowErrors(torch.cat(squared_errors).numpy(), torch.cat(nats).numpy())


def layer_errors(layer: CodingLayer, x: Inputs) -> RowErrors:
    """Measure what a layer makes of examples ``(N, *in_shape)`` in evaluation mode.

    Example:
        >>> layer_errors(PlainAutoencoder((4,), Dense(2)), torch.rand(5, 4)).nats.shape
        (5,)
    """
    layer.eval()

    def reconstruct(part: Tensor) -> tuple[Tensor, Tensor]:
        y = layer.g(layer.f(part))
        return layer.L.mean(y), layer.L(part, y)

    return errors_of(x, reconstruct)
