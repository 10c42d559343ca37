"""Boltzmann machines that are small enough to be enumerated, and what plain sums over their states give."""

import itertools
import math

import torch

from aepretrain import Bernoulli, Dense, Gaussian, RestrictedBoltzmannMachine


def machine(inputs=5, units=4, likelihood=Bernoulli(), **kwargs):
    """A machine with weights and biases of the order of 1, in float64."""
    made = RestrictedBoltzmannMachine((inputs,), Dense(units), likelihood=likelihood, **kwargs).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def binary_states(units):
    """All vectors of 0 and 1, shape ``(2 ** units, units)``."""
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)), dtype=torch.float64)


def weights_of(made):
    """W, b and c of a machine."""
    return made.f.affine.weight, made.f.affine.bias, made.g[0].bias


def joint_energy(made, x, h):
    """The energy of the textbook: -h'Wx - b'h - c'x for Bernoulli inputs, |x - c|^2 / 2 - b'h - h'Wx for Gaussian."""
    W, b, c = weights_of(made)
    visible = 0.5 * (x - c).square().sum() if isinstance(made.L, Gaussian) else -(c @ x)
    return visible - b @ h - h @ W @ x


def log_z(made):
    """The logarithm of the sum of exp(-energy) over all states of a Bernoulli machine."""
    W, b, c = weights_of(made)
    X, H = binary_states(W.shape[1]), binary_states(W.shape[0])
    return (H @ W @ X.t() + (H @ b)[:, None] + X @ c).flatten().logsumexp(dim=0)


def gaussian_log_z(made):
    """The same for Gaussian inputs, whose integral is known for every h, without the constant D/2 log(2 pi)."""
    W, b, c = weights_of(made)
    terms = [b @ h + 0.5 * ((c + h @ W).square().sum() - c.square().sum()) for h in binary_states(W.shape[0])]
    return torch.stack(terms).logsumexp(dim=0)


def constant(made):
    """By how much F of the package exceeds that of the textbook for Bernoulli inputs."""
    return sum(math.log1p(math.exp(c)) for c in weights_of(made)[2].tolist())
