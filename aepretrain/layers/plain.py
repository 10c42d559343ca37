"""The plain autoencoder."""

from torch import Tensor

from aepretrain.layers.autoencoder import Autoencoder


class PlainAutoencoder(Autoencoder):
    r"""Autoencoder without a regularizer: only a code narrower than the input prevents copying.

    .. math:: E(x) = L(x, g(f(x)))

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`.
        kwargs: Passed to :class:`Autoencoder`.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 14.1. The N-M-N encoder task: Ackley, Hinton,
        Sejnowski: A Learning Algorithm for Boltzmann Machines (1985).

    Example:
        >>> model = PlainAutoencoder((784,), Dense(64))
        >>> model.energy(torch.rand(32, 784)).shape
        torch.Size([32])
    """

    def energy(self, x: Tensor) -> Tensor:
        return self.L(x, self.g(self.f(x)))
