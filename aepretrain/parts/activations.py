"""Activation functions: modules, ranges, the initial weights of the maps below them, and units that draw bits."""

import math
from typing import Any, Literal, NamedTuple, TypeVar

from torch import Tensor, nn

from aepretrain.parts.noise import Noise

Activation = Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "silu", "gelu", "linear"]
AffineMap = TypeVar("AffineMap", bound=Any)


class ActivationFacts(NamedTuple):
    """The module, the range and the initialization gain of an activation function."""

    module: type[nn.Module]
    low: float
    high: float
    gain: float


# Gains of the Glorot-uniform initial weights: 4 for the sigmoid and 1 for tanh as in Glorot and Bengio (2010) and the
# deep learning tutorials; sqrt(2) for the rectifiers (He et al., 2015).
ACTIVATIONS: dict[str, ActivationFacts] = {
    "sigmoid": ActivationFacts(nn.Sigmoid, 0.0, 1.0, 4.0),
    "tanh": ActivationFacts(nn.Tanh, -1.0, 1.0, 1.0),
    "relu": ActivationFacts(nn.ReLU, 0.0, math.inf, math.sqrt(2)),
    "leaky_relu": ActivationFacts(nn.LeakyReLU, -math.inf, math.inf, math.sqrt(2)),
    "elu": ActivationFacts(nn.ELU, -1.0, math.inf, 1.0),
    "softplus": ActivationFacts(nn.Softplus, 0.0, math.inf, 1.0),
    "silu": ActivationFacts(nn.SiLU, -0.28, math.inf, math.sqrt(2)),
    "gelu": ActivationFacts(nn.GELU, -0.17, math.inf, math.sqrt(2)),
    "linear": ActivationFacts(nn.Identity, -math.inf, math.inf, 1.0),
}


def affine(in_features: int, out_features: int, activation: str) -> nn.Linear:
    """Return a linear layer with the weights of :func:`initialized`."""
    return initialized(nn.Linear(in_features, out_features), activation)


def initialized(layer: AffineMap, activation: str) -> AffineMap:
    """Give a layer zero bias and Glorot-uniform weights, with the gain of the activation that follows.

    Every output of a convolution adds up as many inputs as its kernel has weights, channels included.
    """
    nn.init.xavier_uniform_(layer.weight, gain=ACTIVATIONS[activation].gain)
    nn.init.zeros_(layer.bias)
    return layer


class BernoulliUnits(nn.Module):
    r"""Binary units with probabilities :math:`\sigma(a)`: drawn in training, the probabilities themselves otherwise.

    .. math:: h_i \sim \mathrm{Bernoulli}(\sigma(a_i)), \qquad
              \frac{\partial h_i}{\partial a_i} := \sigma'(a_i) \quad \text{(straight-through estimate)}

    Attributes:
        noise: Source of the random numbers; a layer replaces it by its own.

    Reference:
        Bengio, Léonard, Courville: Estimating or Propagating Gradients Through Stochastic Neurons (2013), section 4.

    Example:
        >>> import torch
        >>> sorted(BernoulliUnits()(torch.zeros(8, 16)).unique().tolist())
        [0.0, 1.0]
    """

    def __init__(self) -> None:
        super().__init__()
        self.noise = Noise()

    def forward(self, a: Tensor) -> Tensor:
        p = a.sigmoid()
        if not self.training:
            return p
        return self.noise.bernoulli(p.detach()) + (p - p.detach())
