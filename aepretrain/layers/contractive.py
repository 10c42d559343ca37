"""The contractive autoencoder."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.parts.coders import Coder
from aepretrain.parts.contraction import code_and_contraction, contraction


class ContractiveAutoencoder(Autoencoder):
    r"""Autoencoder whose code is insensitive to small input changes: it penalizes the encoder's Jacobian.

    .. math:: E(x) = L(x, g(f(x))) + \lambda \left\lVert \frac{\partial f}{\partial x} \right\rVert_F^2

    For a coder of one dense layer or one convolution the penalty has a cheap closed form. For other coders it is exact
    but slow, or estimated without bias from random projections.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`. Tied weights keep the decoder from undoing the
            contraction by growing.
        lam: Penalty weight :math:`\lambda \ge 0`, in nats.
        projections: Random directions per example that estimate the penalty in training if it has no closed form;
            ``None`` differentiates exactly.
        kwargs: Passed to :class:`Autoencoder`.

    Raises:
        ValueError: If ``lam`` is negative or not finite, ``projections`` below 1, or the code stochastic.

    Reference:
        Rifai et al.: Contractive Auto-Encoders (2011), equation 3; Goodfellow et al. (2016), section 14.7.

    Example:
        >>> model = ContractiveAutoencoder((784,), Dense(64, tied=True), lam=0.1)
        >>> model.energy(torch.rand(32, 784)).shape
        torch.Size([32])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        coder: Coder,
        *,
        lam: float = 0.1,
        projections: int | None = None,
        **kwargs: Any,
    ) -> None:
        if coder.is_stochastic:
            raise ValueError(
                "the contraction is the slope of f, but a stochastic code has none. Leave stochastic out, or take a "
                "SparseAutoencoder."
            )
        super().__init__(in_shape, coder, **kwargs)
        if not 0 <= lam < float("inf"):
            raise ValueError(f"lam must be finite and >= 0, but got {lam}. A negative weight rewards steep encoders.")
        if projections is not None and projections < 1:
            raise ValueError(f"projections must be >= 1, but got {projections}. Leave them out for the exact penalty.")
        self.lam = lam
        self.projections = projections

    def energy(self, x: Tensor) -> Tensor:
        h, squared_norm = code_and_contraction(self.f, x, projections=self.projections, noise=self.noise)
        return self.L(x, self.g(h)) + self.lam * squared_norm

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        return {"jacobian_norm": contraction(self.f, x).sqrt()}
