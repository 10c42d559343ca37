"""The abstract autoencoder: everything that the variants share, that is, all but the energy."""

from abc import ABC
from collections.abc import Sequence

import torch
from torch.optim import Adam

from aepretrain.layers.base import OptimizerFactory, SchedulerFactory
from aepretrain.layers.coding import CodingLayer
from aepretrain.parts.coders import Coder
from aepretrain.parts.likelihoods import Gaussian, Likelihood


class Autoencoder(CodingLayer, ABC):
    r"""An encoder f and a decoder g, trained to minimize an energy that each variant defines.

    .. math:: \min_{f, g} \; \mathbb E_x \, E(x), \qquad E(x) = L(x, g(f(x))) + \ldots

    What validation measures is told in :class:`~aepretrain.layers.coding.CodingLayer`.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`.
        likelihood: :math:`L(x, y) = -\log p(x \mid y)`, in nats.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        coder: Coder,
        *,
        likelihood: Likelihood = Gaussian(),
        optimizer: OptimizerFactory = Adam,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(in_shape, coder, likelihood, optimizer, scheduler)

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
