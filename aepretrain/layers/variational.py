"""The variational autoencoder."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.layers.diagnostics import CodeStatistics
from aepretrain.parts.coders import Coder
from aepretrain.parts.penalties import kl_per_unit, kl_to_standard_normal


class VariationalAutoencoder(Autoencoder):
    r"""Autoencoder with a random code: it bounds the likelihood of the data, and generates new data.

    .. math:: E(x) = \mathbb E_{z \sim q(z \mid x)} L(x, g(z)) + \beta \, \mathrm{KL}(q(z \mid x) \,\Vert\, N(0, I)),
              \qquad q(z \mid x) = N(\mu(x), \mathrm{diag}\, \sigma^2(x))

    The code :math:`f(x)` is the mean :math:`\mu(x)`, which has no activation. Give the coder a hidden layer; otherwise
    a stack of such encoders is linear.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder and the decoder :math:`g`; the activation of the code is removed.
        beta: Weight :math:`\beta \ge 0` of the KL divergence; 1 is the evidence lower bound.
        kwargs: Passed to :class:`Autoencoder`.

    Raises:
        ValueError: If ``beta`` is negative or not finite.

    Reference:
        Kingma, Welling: Auto-Encoding Variational Bayes (2014), equation 10; Goodfellow et al. (2016), section 20.10.3.

    Example:
        >>> model = VariationalAutoencoder((784,), Dense(8, activation="relu", hidden=(64,)))
        >>> model.energy(torch.rand(32, 784)).shape
        torch.Size([32])
    """

    f: Any  # the type Sequential does not declare the named parts

    def __init__(self, in_shape: Sequence[int], coder: Coder, *, beta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(in_shape, coder.unsquashed(), **kwargs)
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta must be finite and >= 0, but got {beta}. A negative weight rewards collapse.")
        self.beta = beta
        self.code_statistics = CodeStatistics(self.code_shape, self.code_range, prior=True)
        self.log_var = _head_like(self.f.affine)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and log-variance of q(z | x), each of shape ``(B, *code_shape)``."""
        hidden = self.f.body(x)
        return self.f.activation(self.f.affine(hidden)), self.log_var(hidden)

    def energy(self, x: Tensor) -> Tensor:
        mean, log_var = self.posterior(x)
        epsilon = self.noise.normal_like(mean)
        z = mean + (0.5 * log_var).exp() * epsilon
        return self.L(x, self.g(z)) + self.beta * kl_to_standard_normal(mean, log_var)

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        return {"kl": kl_to_standard_normal(*self.posterior(x))}

    def unit_diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        return {"kl": kl_per_unit(*self.posterior(x)).mean(dim=0)}


def _head_like(head: nn.Module) -> nn.Module:
    """Copy the affine map onto the mean and zero its parameters, so that all posteriors start with variance 1."""
    log_var = deepcopy(head)
    for parameter in log_var.parameters():
        nn.init.zeros_(parameter)
    return log_var
