"""New inputs of a trained stack: codes from a prior, Gibbs chains or a denoising walk, and ways through its codes."""

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from aepretrain.errors import ConfigError
from aepretrain.parts.corruptions import Corruption
from aepretrain.parts.likelihoods import Gaussian, Likelihood
from aepretrain.parts.noise import Noise
from aepretrain.pretraining.stack import GreedyStack


@runtime_checkable
class HasPrior(Protocol):
    """A layer with a distribution of its codes, such as a variational autoencoder."""

    def prior_codes(self, count: int) -> Tensor:
        """Draw codes, shape ``(count, *code_shape)``."""


@runtime_checkable
class HasGibbs(Protocol):
    """A layer with a Markov chain over its inputs, such as a Boltzmann machine."""

    def gibbs(self, x: Tensor, steps: int) -> Tensor:
        """Take steps of the chain from inputs of the layer, shape ``(B, *in_shape)``."""


@runtime_checkable
class Corrupts(Protocol):
    """A layer that was trained to undo a corruption of its inputs."""

    corruption: Corruption
    L: Likelihood


def starts_from_rows(stack: GreedyStack) -> bool:
    """Whether new codes come from a chain that starts from rows of data.

    Raises:
        ConfigError: If there is no way to new codes.
    """
    first, *_ = layers = list(stack)
    if isinstance(layers[-1], HasPrior):
        return False
    if not isinstance(layers[-1], HasGibbs) and not isinstance(first, Corrupts):
        raise ConfigError(
            "new items need a variational, adversarial or Boltzmann layer as the last, or a denoising first layer, but "
            f"the stack is {', '.join(stack.stages)}. Take --reconstruct or --interpolate."
        )
    return True


@torch.no_grad()
def draw_codes(stack: GreedyStack, count: int, noise: Noise, *, x: Tensor | None = None, steps: int = 100) -> Tensor:
    r"""Draw codes of the last layer, which :meth:`GreedyStack.decode` and :meth:`GreedyStack.sample` turn into inputs.

    They come from the prior of the last layer; else from Gibbs chains of the last layer; else from the denoising walk
    of the stack,

    .. math:: \tilde x_t \sim q(\tilde x \mid x_t), \qquad h_t = f(\tilde x_t), \qquad x_{t+1} \sim p(x \mid g(h_t))

    With a ``Gaussian`` likelihood, whose unit variance is a convention of the loss, the walk passes on the expected
    input instead of a draw.

    Args:
        stack: The trained stack, in evaluation mode.
        count: Number of codes.
        noise: Source of all random numbers.
        x: Rows ``(N, *in_shape)`` from which chains start, repeated if they are too few; not needed with a prior.
        steps: Steps of a chain.

    Returns:
        Shape ``(count, *code_shape)``.

    Raises:
        ConfigError: If the stack has no way to new codes.

    Reference:
        Bengio, Yao, Alain, Vincent: Generalized Denoising Auto-Encoders as Generative Models (2013), algorithm 1.

    Example:
        >>> stack = GreedyStack((6,), [lambda s: VariationalAutoencoder(s, Dense(2))])
        >>> stack.decode(draw_codes(stack, 5, Noise())).shape
        torch.Size([5, 6])
    """
    starts_from_rows(stack)
    first, *_ = layers = list(stack)
    *below, top = layers
    for layer in layers:
        layer.noise = noise
    if isinstance(top, HasPrior):
        return top.prior_codes(count)
    assert x is not None
    x = x[torch.arange(count) % len(x)]
    if isinstance(top, HasGibbs):
        for layer in below:
            x = layer.encode(x)
        return top.encode(top.gibbs(x, steps))
    assert isinstance(first, Corrupts)
    for _ in range(steps):
        h = stack.encode(first.corruption(x, noise))
        x = stack.decode(h) if isinstance(first.L, Gaussian) else stack.sample(h)
    return h


def manifold_codes(stack: GreedyStack, side: int) -> Tensor:
    r"""Lay a grid over a code of two dimensions, at the quantiles of its prior :math:`N(0, I)`.

    .. math:: z_{ij} = \left( \Phi^{-1}\!\left(\tfrac{j + 1/2}{n}\right),
              \; -\Phi^{-1}\!\left(\tfrac{i + 1/2}{n}\right) \right)

    Args:
        stack: The trained stack.
        side: Number n of codes along each side of the grid.

    Returns:
        Shape ``(side * side, 2)``, row by row from the top left.

    Raises:
        ConfigError: If the code has no prior, or not two dimensions.

    Reference:
        Kingma, Welling: Auto-Encoding Variational Bayes (2014), appendix A.

    Example:
        >>> stack = GreedyStack((6,), [lambda s: VariationalAutoencoder(s, Dense(2))])
        >>> manifold_codes(stack, 2)[:2]
        tensor([[-0.6745,  0.6745],
                [ 0.6745,  0.6745]])
    """
    top = list(stack)[-1]
    if not isinstance(top, HasPrior):
        raise ConfigError(
            f"--manifold is for codes with the prior N(0, I), but the last layer is {stack.stages[-1]}. Train a "
            "VariationalAutoencoder with 2 features, or take --interpolate."
        )
    if (size := math.prod(top.code_shape)) != 2:
        raise ConfigError(
            f"--manifold needs a code of 2 values, but that of the run has {size}. Train a last layer with features 2, "
            "or take --interpolate."
        )
    quantiles = torch.special.ndtri((torch.arange(side) + 0.5) / side)
    return torch.stack([quantiles.repeat(side), -quantiles.repeat_interleave(side)], dim=1)


def interpolate(h: Tensor, other: Tensor, count: int) -> Tensor:
    r"""Codes on the line between two, ends included: :math:`(1 - \lambda) h + \lambda h'`.

    Args:
        h: The first code, shape ``code_shape``.
        other: The last code, likewise.
        count: Number of codes, at least 2.

    Returns:
        Shape ``(count, *code_shape)``.

    Example:
        >>> interpolate(torch.zeros(1), torch.ones(1), 3).flatten().tolist()
        [0.0, 0.5, 1.0]
    """
    share = torch.linspace(0, 1, count).reshape(-1, *[1] * h.ndim)
    return (1 - share) * h + share * other
