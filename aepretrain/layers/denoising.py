"""The denoising autoencoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.parts.coders import Coder
from aepretrain.parts.corruptions import Corruption, Masking
from aepretrain.parts.noise import Noise


class DenoisingAutoencoder(Autoencoder):
    r"""Autoencoder that reconstructs the clean input from a corrupted copy.

    .. math:: E(x) = L(x, g(f(\tilde x))), \qquad \tilde x \sim q(\tilde x \mid x)

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`.
        corruption: The noise distribution :math:`q`.
        kwargs: Passed to :class:`Autoencoder`.

    Reference:
        Vincent et al.: Stacked Denoising Autoencoders (2010), section 3; Goodfellow et al. (2016), section 14.2.2.

    Example:
        >>> model = DenoisingAutoencoder((784,), Dense(64), corruption=Masking(0.25))
        >>> model.energy(torch.rand(32, 784)).shape
        torch.Size([32])
    """

    def __init__(
        self, in_shape: Sequence[int], coder: Coder, *, corruption: Corruption = Masking(0.25), **kwargs: Any
    ) -> None:
        super().__init__(in_shape, coder, **kwargs)
        self.corruption = corruption

    def energy(self, x: Tensor) -> Tensor:
        x_tilde = self.corruption(x, self.noise)
        return self.L(x, self.g(self.f(x_tilde)))

    @torch.no_grad()
    def pictures(self, x: Tensor, noise: Noise) -> dict[str, Tensor]:
        x_tilde = self.corruption(x, noise)
        return {"original": x, "corrupted": x_tilde, "reconstructed": self.reconstruct(x_tilde)}
