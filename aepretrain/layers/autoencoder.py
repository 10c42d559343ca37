"""The abstract autoencoder: everything that the variants share, that is, all but the energy."""

from abc import ABC

import torch

from aepretrain.layers.coding import CodingLayer


class Autoencoder(CodingLayer, ABC):
    r"""An encoder f and a decoder g, trained to minimize an energy that each variant defines.

    .. math:: \min_{f, g} \; \mathbb E_x \, E(x), \qquad E(x) = L(x, g(f(x))) + \ldots

    Its arguments, and what validation measures, are those of :class:`~aepretrain.layers.coding.CodingLayer`.
    """

    @property
    def can_copy(self) -> bool:
        return self.narrowest > torch.Size(self.in_shape).numel() and not self.is_regularized()

    @torch.no_grad()
    def is_regularized(self) -> bool:
        """Whether the energy differs from the plain reconstruction loss on random inputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            x = torch.rand(256, *self.in_shape).to(next(self.parameters()))
            buffers = {name: buffer.clone() for name, buffer in self.named_buffers()}
            is_plain = torch.equal(self.energy(x), self.L(x, self.g(self.f(x))))
            for name, buffer in self.named_buffers():  # the statistics of batch norms
                buffer.copy_(buffers[name])
            return not is_plain
