"""The dropout autoencoder."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.parts.coders import Coder
from aepretrain.parts.corruptions import Dropout


class DropoutAutoencoder(Autoencoder):
    r"""Autoencoder with dropout on the code, so that no unit can rely on the others.

    .. math:: E(x) = L(x, g(m \odot f(x))), \qquad m_i \sim \mathrm{Bernoulli}(1 - p) / (1 - p)

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`.
        p: Probability that a unit of the code is dropped, in ``[0, 1)``.
        kwargs: Passed to :class:`Autoencoder`.

    Raises:
        ValueError: If ``p`` lies outside ``[0, 1)``.

    Reference:
        Srivastava et al.: Dropout (2014), section 10. The mask has mean 1, so no rescaling is needed afterwards.

    Example:
        >>> model = DropoutAutoencoder((784,), Dense(64), p=0.2)
        >>> model.energy(torch.rand(32, 784)).shape
        torch.Size([32])
    """

    def __init__(self, in_shape: Sequence[int], coder: Coder, *, p: float = 0.5, **kwargs: Any) -> None:
        super().__init__(in_shape, coder, **kwargs)
        self.dropout = Dropout(p)

    def energy(self, x: Tensor) -> Tensor:
        h = self.f(x)
        m = self.dropout.mask(h, self.noise)
        return self.L(x, self.g(m * h))
