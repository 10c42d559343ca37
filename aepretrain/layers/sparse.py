"""The sparse autoencoder."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.parts.coders import Coder
from aepretrain.parts.penalties import L1, SparsityPenalty


class SparseAutoencoder(Autoencoder):
    r"""Autoencoder with few active units, due to a sparsity penalty on the code.

    .. math:: E(x) = L(x, g(h)) + \lambda \, \Omega(h), \qquad h = f(x), \qquad \Omega(h) = \sum_i |h_i|

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`.
        lam: Penalty weight :math:`\lambda \ge 0`, in nats per unit of activation, or with ``L0`` per active unit.
        penalty: :math:`\Omega`: the sum of absolute values; ``KLSparsity`` with a target activity; ``L0``, the number
            of active units of a coder with ``threshold``.
        kwargs: Passed to :class:`Autoencoder`.

    Raises:
        ValueError: If ``lam`` is negative or not finite, or if the penalty is undefined for the range or the activation
            of the code.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 14.2.1; for L0 see
        :class:`~aepretrain.parts.penalties.L0`.

    Example:
        >>> model = SparseAutoencoder((784,), coder=Dense(64), lam=0.1)
        >>> model.energy(torch.rand(32, 784)).shape
        torch.Size([32])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        coder: Coder,
        *,
        lam: float = 1e-3,
        penalty: SparsityPenalty = L1(),
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, coder, **kwargs)
        if not 0 <= lam < float("inf"):
            raise ValueError(f"lam must be finite and >= 0, but got {lam}. A negative weight rewards dense codes.")
        penalty.check(coder.code_range)
        penalty.check_activation(self.f[-1])
        self.lam = lam
        self.penalty = penalty

    def energy(self, x: Tensor) -> Tensor:
        h, omega = self.penalty.of_encoder(self.f, x)
        return self.L(x, self.g(h)) + self.lam * omega
