"""The partition function of a Boltzmann machine, estimated by annealed importance sampling."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from aepretrain.layers.boltzmann import RestrictedBoltzmannMachine
from aepretrain.parts.noise import Noise


@dataclass(frozen=True)
class LogPartition:
    """An estimate of log Z.

    Args:
        log_z: The estimate, in nats.
        standard_error: Its standard error over the chains, in nats. It is too small if all chains miss a mode.
    """

    log_z: float
    standard_error: float


@torch.no_grad()
def log_partition(
    machine: RestrictedBoltzmannMachine, *, chains: int = 100, steps: int = 1000, noise: Noise = Noise()
) -> LogPartition:
    r"""Estimate log Z of a Boltzmann machine by annealed importance sampling, hence :math:`\log p(x) = -F(x) - \log Z`.

    The chains pass through distributions without hidden units in which W and b grow from nothing to their values:

    .. math::
        p_\beta(x) \propto \exp(-L(x, c)) \prod_j \left(1 + \exp(\beta (W x + b)_j)\right), \qquad
        \log Z = H \log 2 + \log \tfrac1M \sum_m \prod_k \frac{p^*_{\beta_k}(x_{m,k-1})}{p^*_{\beta_{k-1}}(x_{m,k-1})}

    As in :math:`L`, the constant :math:`\tfrac D2 \log 2\pi` of Gaussian units is omitted.

    Args:
        machine: The machine; it is left as it is.
        chains: Number M of chains; at least 2.
        steps: Number of temperatures :math:`0 = \beta_0 < \ldots < \beta_K = 1` after the first.
        noise: Source of the random numbers.

    Raises:
        ValueError: If there are fewer than 2 chains or no step.

    Reference:
        Salakhutdinov, Murray: On the Quantitative Analysis of Deep Belief Networks (2008), section 4.

    Example:
        >>> from aepretrain import Dense
        >>> machine = RestrictedBoltzmannMachine((6,), Dense(4))
        >>> found = log_partition(machine, chains=10, steps=100)
        >>> log_likelihood = -machine.free_energy(torch.ones(2, 6)) - found.log_z
    """
    if chains < 2 or steps < 1:
        raise ValueError(f"chains must be >= 2 and steps >= 1, but got {chains} and {steps}. Usual are 100 and 1000.")
    c = machine.visible_bias.expand(chains, *machine.in_shape)
    x = machine.L.sample(c, noise)
    log_weights = torch.zeros(chains, dtype=torch.float64, device=x.device)
    for colder, beta in pairwise(torch.linspace(0, 1, steps + 1, dtype=torch.float64).tolist()):
        a = machine.logits(x)
        log_weights += F.softplus(beta * a).sum(dim=1) - F.softplus(colder * a).sum(dim=1)
        h = noise.bernoulli(torch.sigmoid(beta * a)).to(x.dtype)
        x = machine.L.sample(torch.lerp(c, machine.g(h), beta), noise)
    units = torch.Size(machine.code_shape).numel()
    return LogPartition(units * math.log(2) + _log_mean_exp(log_weights), _standard_error(log_weights))


def _log_mean_exp(log_weights: Tensor) -> float:
    return (torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))).item()


def _standard_error(log_weights: Tensor) -> float:
    """The relative standard error of the mean weight, which is that of its logarithm."""
    weights = (log_weights - log_weights.max()).exp()
    return (weights.std() / weights.mean() / len(weights) ** 0.5).item()
