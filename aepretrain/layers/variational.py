"""The variational autoencoder."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.layers.diagnostics import CodeStatistics
from aepretrain.parts.coders import Coder
from aepretrain.parts.corruptions import Binarization
from aepretrain.parts.divergences import kl_of_draw, kl_per_unit, kl_to_standard_normal, kl_with_free_bits
from aepretrain.parts.likelihoods import Bernoulli
from aepretrain.parts.noise import Noise

PART = 100
"""Examples whose log-likelihood is computed at once."""
ROWS_AT_ONCE = 10_000
"""Codes that are drawn at once for a log-likelihood."""
CACHED_ROWS = 1000
"""Codes that are decoded at once: outputs of a few megabytes stay in the cache of a CPU."""


class VariationalAutoencoder(Autoencoder):
    r"""Autoencoder with a random code: it bounds the likelihood of the data, and generates new data.

    .. math:: E(x) = \mathbb E_{z \sim q(z \mid x)} L(x, g(z)) + \beta \, \mathrm{KL}(q(z \mid x) \,\Vert\, N(0, I)),
              \qquad q(z \mid x) = N(\mu(x), \mathrm{diag}\, \sigma^2(x))

    and with :math:`k` importance samples :math:`z_i \sim q(z \mid x)` a tighter bound, which at :math:`k = 1` has the
    same expectation:

    .. math:: E_k(x) = -\log \frac1k \sum_{i=1}^k w_i, \qquad
              \log w_i = -L(x, g(z_i)) - \beta \log \frac{q(z_i \mid x)}{p(z_i)}, \qquad p = N(0, I)

    The code :math:`f(x)` is the mean :math:`\mu(x)`, which has no activation. Give the coder a hidden layer; otherwise
    a stack of such encoders is linear.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder and the decoder :math:`g`; the activation of the code is removed.
        beta: Weight :math:`\beta \ge 0` of the KL divergence; 1 is the evidence lower bound.
        warm_up_steps: Training steps over which :math:`\beta` rises linearly to its value; validation uses the value.
            With ``trainer.accumulate`` k, a step counts k times.
        free_bits: Nats per unit below which the KL divergence is not reduced further: see
            :func:`~aepretrain.parts.divergences.kl_with_free_bits`.
        samples: Number :math:`k` of importance samples; 1 takes the KL divergence in closed form.
        binarize: Whether every step draws the pixels anew, :math:`x_i \sim \mathrm{Bernoulli}(x_i)`; validation too,
            always with the same draws.
        nll_samples: Importance samples of the log-likelihood that is measured when training has ended, on at most 1000
            validation rows (``nll``, in nats per example); 0 leaves it out.
        kwargs: Passed to :class:`Autoencoder`.

    Raises:
        ValueError: If an option is out of range, ``free_bits`` meets several samples, or ``binarize`` another
            likelihood than Bernoulli.

    Reference:
        Kingma, Welling: Auto-Encoding Variational Bayes (2014), equation 10; Goodfellow et al. (2016), section 20.10.3;
        Burda, Grosse, Salakhutdinov: Importance Weighted Autoencoders (2016), equation 8; Sønderby et al.: Ladder
        Variational Autoencoders (2016), section 2.3, for the warm-up.

    Example:
        >>> model = VariationalAutoencoder((784,), Dense(8, activation="relu", hidden=(64,)))
        >>> model.energy(torch.rand(32, 784)).shape, model.log_likelihood(torch.rand(3, 784), samples=50).shape
        (torch.Size([32]), torch.Size([3]))
    """

    f: Any  # the type Sequential does not declare the named parts
    steps: Tensor

    def __init__(
        self,
        in_shape: Sequence[int],
        coder: Coder,
        *,
        beta: float = 1.0,
        warm_up_steps: int = 0,
        free_bits: float = 0.0,
        samples: int = 1,
        binarize: bool = False,
        nll_samples: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, coder.unsquashed(), **kwargs)
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta must be finite and >= 0, but got {beta}. A negative weight rewards collapse.")
        if not 0 <= free_bits < float("inf"):
            raise ValueError(f"free_bits must be finite and >= 0, but got {free_bits}. Published values are 0.01 to 2.")
        for name, value, least in (
            ("warm_up_steps", warm_up_steps, 0),
            ("samples", samples, 1),
            ("nll_samples", nll_samples, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be >= {least}, but got {value}. Leave it out for {least}.")
        if free_bits and samples > 1:
            raise ValueError(f"free_bits must be 0 with several samples, but got {free_bits} with samples {samples}.")
        if binarize and not isinstance(self.L, Bernoulli):
            raise ValueError(
                f"binarize draws 0 or 1, but the likelihood is {type(self.L).__name__}. Set likelihood to Bernoulli, "
                "or leave binarize out."
            )
        self.beta = beta
        self.warm_up_steps = warm_up_steps
        self.free_bits = free_bits
        self.samples = samples
        self.binarize = binarize
        self.nll_samples = nll_samples
        self.code_statistics = CodeStatistics(self.code_shape, self.code_range, prior=True)
        self.log_var = _head_like(self.f.affine)
        if warm_up_steps:
            # A buffer: it is part of every checkpoint, and a recorded step counts it, too.
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_pre_hook(_adapt_warm_up)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute mean and log-variance of q(z | x), each of shape ``(B, *code_shape)``."""
        hidden = self.f.body(x)
        return self.f.activation(self.f.affine(hidden)), self.log_var(hidden)

    def energy(self, x: Tensor) -> Tensor:
        x = self.observed(x)
        if self.samples > 1:
            return -self.log_mean_weight(x, self.samples, self.present_beta())
        mean, log_var = self.posterior(x)
        epsilon = self.noise.normal_like(mean)
        z = mean + (0.5 * log_var).exp() * epsilon
        return self.L(x, self.g(z)) + self.present_beta() * self.kl(mean, log_var)

    def loss(self, *batch: Tensor) -> Tensor:
        if self.training and self.warm_up_steps:
            self.steps += 1
        return self.energy(batch[0])

    def present_beta(self) -> float | Tensor:
        """The weight of the KL divergence now: in training that of the warm-up."""
        if not self.training or not self.warm_up_steps:
            return self.beta
        return self.beta * (self.steps / self.warm_up_steps).clamp(max=1.0)

    def kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """The KL divergence from the prior, in nats, ``(B,)``; with free bits that of the whole batch, ``()``."""
        if self.free_bits:
            return kl_with_free_bits(mean, log_var, self.free_bits)
        return kl_to_standard_normal(mean, log_var)

    def observed(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        """The inputs ``(B, *in_shape)`` as the model sees them: drawn to 0 and 1 if they are binarized."""
        return Binarization()(x, noise or self.noise) if self.binarize else x

    def prior_codes(self, count: int) -> Tensor:
        """Draw codes from the prior N(0, I), shape ``(count, *code_shape)``."""
        return self.noise.normal_like(next(self.parameters()).new_empty(count, *self.code_shape))

    def log_mean_weight(
        self, x: Tensor, samples: int, beta: float | Tensor = 1.0, noise: Noise | None = None
    ) -> Tensor:
        r"""Compute :math:`\log \frac1k \sum_i w_i` of :math:`k` draws, in nats, shape ``(B,)``: see the class."""
        z, epsilon, log_var = self.draw(*self.posterior(x), samples, noise or self.noise)
        loss = self.L(x.repeat_interleave(samples, dim=0), self.g(z))
        log_w = -loss - beta * kl_of_draw(epsilon, z, log_var)
        return log_w.reshape(-1, samples).logsumexp(dim=1) - math.log(samples)

    def draw(self, mean: Tensor, log_var: Tensor, samples: int, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        r"""Draw :math:`z = \mu + \sigma \epsilon`, so many times per example.

        Returns:
            :math:`z`, :math:`\epsilon` and :math:`\log \sigma^2`, each of shape ``(B * samples, *code_shape)``.
        """
        mean, log_var = (each.repeat_interleave(samples, dim=0) for each in (mean, log_var))
        epsilon = noise.normal_like(mean)
        return mean + (0.5 * log_var).exp() * epsilon, epsilon, log_var

    @torch.no_grad()
    def log_likelihood(self, x: Tensor, samples: int = 5000, noise: Noise | None = None) -> Tensor:
        r"""Estimate :math:`\log p(x)` by importance sampling from the posterior.

        .. math:: \log p(x) \approx \log \frac1k \sum_{i=1}^k w_i, \qquad \beta = 1

        In expectation it is a lower bound, which rises to :math:`\log p(x)` with the number of samples. Draws come in
        parts, so memory does not grow with their number. What the likelihood leaves out of L is left out here, too (for
        Gaussian :math:`\tfrac D2 \log 2\pi`), so the value is comparable with the energy.

        Args:
            x: Inputs, shape ``(B, *in_shape)``; already binarized, if the model binarizes.
            samples: Number :math:`k` of draws per example.
            noise: Source of the draws; ``None``: that of the layer.

        Returns:
            Nats per example, shape ``(B,)``.

        Raises:
            ValueError: If ``samples`` is below 1.
        """
        if samples < 1:
            raise ValueError(f"samples must be >= 1, but got {samples}. Burda et al. take 5000.")
        return torch.cat([self._log_likelihood(part, samples, noise or self.noise) for part in x.split(PART)])

    def _log_likelihood(self, x: Tensor, samples: int, noise: Noise) -> Tensor:
        at_once = min(max(ROWS_AT_ONCE // len(x), 1), samples)
        posterior, repeated = self.posterior(x), x.repeat_interleave(at_once, dim=0)
        parts = []
        for first in range(0, samples, at_once):
            count = min(at_once, samples - first)
            z, epsilon, log_var = self.draw(*posterior, count, noise)
            seen = repeated if count == at_once else x.repeat_interleave(count, dim=0)
            pieces = zip(seen.split(CACHED_ROWS), z.split(CACHED_ROWS), strict=True)
            loss = torch.cat([self.L.without_gradient(a, self.g(b)) for a, b in pieces])
            log_w = -loss - kl_of_draw(epsilon, z, log_var)
            parts.append(log_w.reshape(-1, count).logsumexp(dim=1))
        return torch.stack(parts).logsumexp(dim=0) - math.log(samples)

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        return super().validation_values(self.observed(batch[0]), *batch[1:])

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        return {"kl": kl_to_standard_normal(*self.posterior(x))}

    def unit_diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        # Always the same pixels, whatever was drawn before.
        x = self.observed(x, Noise(torch.Generator(x.device).manual_seed(0)))
        mean, log_var = self.posterior(x)
        variance = mean.flatten(1).var(dim=0, correction=0)
        return {"kl": kl_per_unit(mean, log_var).mean(dim=0), "variance": variance}

    def closing_figures(self, x: Tensor, noise: Noise) -> dict[str, float]:
        if not self.nll_samples:
            return {}
        return {"nll": -self.log_likelihood(self.observed(x, noise), self.nll_samples, noise).mean().item()}


def _adapt_warm_up(layer: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let layers with and without a warm-up begin with the weights of each other."""
    steps = dict(layer.named_buffers(recurse=False)).get("steps")
    if steps is None:
        state_dict.pop(f"{prefix}steps", None)
    else:
        state_dict.setdefault(f"{prefix}steps", torch.zeros_like(steps))


def _head_like(head: nn.Module) -> nn.Module:
    """Copy the affine map onto the mean and zero its parameters, so that all posteriors start with variance 1."""
    log_var = deepcopy(head)
    for parameter in log_var.parameters():
        nn.init.zeros_(parameter)
    return log_var
