"""Coders build the pair of networks of an autoencoder: the encoder f and the decoder g."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "silu", "gelu", "linear"]


class ActivationFacts(NamedTuple):
    """What the package knows of an activation function."""

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


class Coder(ABC):
    """A recipe for an encoder f and the decoder g that mirrors it."""

    @abstractmethod
    def build(self, in_shape: Sequence[int]) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
        """Build f and g for inputs of one shape.

        The last two modules of f are the affine map onto the code and the activation of the code. An encoder can be
        saved if its modules are in ``aepretrain.export.encoder.LAYERS``.

        Args:
            in_shape: Shape of one example, without the batch dimension.

        Returns:
            The encoder ``(B, *in_shape) -> (B, *code_shape)``, the decoder ``(B, *code_shape) -> (B, *in_shape)``,
            whose outputs are the parameters of a likelihood (logits, for instance), and ``code_shape``.
        """

    @property
    @abstractmethod
    def code_range(self) -> tuple[float, float]:
        """The closed interval that every value of the code lies in."""

    @property
    @abstractmethod
    def narrowest(self) -> int:
        """Values in the narrowest layer between input and code: where information has to pass."""

    @abstractmethod
    def unsquashed(self) -> "Coder":
        """The same coder with a code that no activation bounds, as a Gaussian mean needs it."""


@dataclass(frozen=True)
class Dense(Coder):
    r"""Fully connected encoder and decoder.

    .. math:: f(x) = \varphi(W x + b), \qquad g(h) = W' h + c

    Args:
        features: Width :math:`H` of the code.
        activation: :math:`\varphi`, applied to every hidden layer and to the code.
        tied: Whether the decoder uses the transposed weights of the encoder, :math:`W' = W^\top`.
        hidden: Widths of further layers between input and code; the decoder mirrors them.
        code_activation: Activation of the code where it differs from ``activation``.

    Raises:
        ValueError: If a width is below 1 or an activation is unknown.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 14.1. Initial weights: Glorot, Bengio:
        Understanding the difficulty of training deep feedforward neural networks (2010), equation 16.

    Example:
        >>> import torch
        >>> f, g, code_shape = Dense(64, activation="relu").build((1, 28, 28))
        >>> code_shape
        (64,)
        >>> g(f(torch.rand(32, 1, 28, 28))).shape
        torch.Size([32, 1, 28, 28])
    """

    features: int
    activation: Activation = "sigmoid"
    tied: bool = False
    hidden: tuple[int, ...] = ()
    code_activation: Activation | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in (self.features, *self.hidden):
            if width < 1:
                raise ValueError(f"a Dense layer needs at least 1 unit, but got {width}. Typical are 64 to 2000.")
        for name in (self.activation, self._code_activation):
            if name not in ACTIVATIONS:
                raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, but got {name!r}.")

    @property
    def _code_activation(self) -> str:
        return self.code_activation or self.activation

    @property
    def code_range(self) -> tuple[float, float]:
        facts = ACTIVATIONS[self._code_activation]
        return facts.low, facts.high

    @property
    def narrowest(self) -> int:
        return min(self.features, *self.hidden) if self.hidden else self.features

    def unsquashed(self) -> "Dense":
        return replace(self, code_activation="linear")

    def build(self, in_shape: Sequence[int]) -> tuple[nn.Sequential, nn.Sequential, tuple[int, ...]]:
        in_shape = tuple(in_shape)
        widths = [math.prod(in_shape), *self.hidden, self.features]
        above = [*[self.activation] * len(self.hidden), self._code_activation]
        # The last map of the decoder stays affine: likelihoods take logits.
        below = ["linear", *[self.activation] * len(self.hidden)]

        encoder: list[nn.Module] = [nn.Flatten()] if len(in_shape) > 1 else []
        decoder: list[nn.Module] = [nn.Unflatten(1, in_shape)] if len(in_shape) > 1 else []
        for (lower, upper), up, down in zip(pairwise(widths), above, below, strict=True):
            forward = affine(lower, upper, up)
            encoder += [forward, ACTIVATIONS[up].module()]
            backward = Transposed(forward) if self.tied else affine(upper, lower, down)
            decoder = [backward, ACTIVATIONS[down].module(), *decoder]
        return nn.Sequential(*encoder), nn.Sequential(*decoder), (self.features,)


class Transposed(nn.Module):
    r"""Affine map with the transposed weights of another one, :math:`h \mapsto W^\top h + c`: tied weights.

    Args:
        linear: The map :math:`x \mapsto W x + b` whose weight is shared. The bias :math:`c` is this module's own.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = nn.Parameter(linear.weight.new_zeros(linear.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight.t(), self.bias)


def affine(in_features: int, out_features: int, activation: str) -> nn.Linear:
    """A linear layer with zero bias and Glorot-uniform weights whose gain fits the activation that follows."""
    layer = nn.Linear(in_features, out_features)
    nn.init.xavier_uniform_(layer.weight, gain=ACTIVATIONS[activation].gain)
    nn.init.zeros_(layer.bias)
    return layer
