"""Coders build the pair of networks of an autoencoder: the encoder f and the decoder g."""

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Self, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from aepretrain.parts.noise import Noise
from aepretrain.parts.norms import unit_norms_
from aepretrain.parts.sparse_codes import JumpReLU, TopK

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


@dataclass(frozen=True)
class CoderParts:
    r"""The three parts of an encoder, and the matching decoder.

    .. math:: f = \mathrm{activation} \circ \mathrm{affine} \circ \mathrm{body}

    Args:
        body: The layers before the affine map; may be an empty Sequential.
        affine: The affine map onto the code. A variational autoencoder copies it for the log-variance, and the
            contraction may have a closed form for it.
        activation: The activation of the code; ``nn.Identity`` for none.
        decoder: The decoder :math:`g`: ``(B, *code_shape) -> (B, *in_shape)``. Its outputs parametrize a likelihood,
            for example as logits.
        code_shape: Shape of one code, without the batch dimension.

    Example:
        >>> parts = Dense(64, activation="relu").build((1, 28, 28))
        >>> parts.affine, parts.code_shape
        (Linear(in_features=784, out_features=64, bias=True), (64,))
    """

    body: nn.Sequential
    affine: nn.Module
    activation: nn.Module
    decoder: nn.Sequential
    code_shape: tuple[int, ...]

    @property
    def encoder(self) -> nn.Sequential:
        """The encoder :math:`f`: ``(B, *in_shape) -> (B, *code_shape)``, with children body, affine and activation."""
        return nn.Sequential(OrderedDict(body=self.body, affine=self.affine, activation=self.activation))


def flatten_encoder(f: nn.Sequential) -> nn.Sequential:
    """Flatten an encoder of named parts into a plain Sequential, the form that is saved and fine-tuned.

    Stochastic units give their probabilities in it.

    Example:
        >>> list(flatten_encoder(Dense(64).build((784,)).encoder).state_dict())
        ['0.weight', '0.bias']
    """
    body, affine, activation = f
    assert isinstance(body, nn.Sequential)
    return nn.Sequential(*body, affine, nn.Sigmoid() if isinstance(activation, BernoulliUnits) else activation)


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


class Coder(ABC):
    """Base class of coders, which build an encoder f and the decoder g that mirrors it."""

    @abstractmethod
    def build(self, in_shape: Sequence[int]) -> CoderParts:
        """Build f and g for a given input shape.

        An encoder can be saved if all its modules are listed in ``aepretrain.export.architecture.LAYERS``.

        Args:
            in_shape: Shape of one example, without the batch dimension.
        """

    @property
    @abstractmethod
    def code_range(self) -> tuple[float, float]:
        """The closed, possibly infinite interval of code values: the range of the code's activation.

        A likelihood of the next layer that cannot produce such codes is rejected, as is a penalty not defined for them.
        """

    @property
    def is_stochastic(self) -> bool:
        """Whether the code is drawn at random in training."""
        return False

    @abstractmethod
    def narrowest(self, in_shape: Sequence[int]) -> int:
        """The number of values in the narrowest layer of f, code included: the information bottleneck.

        If it exceeds the input size and nothing regularizes the layer, the encoder can learn to copy, which triggers a
        warning.

        Args:
            in_shape: As in :meth:`build`. The size of a feature map is channels times positions.
        """

    @property
    def is_sparse(self) -> bool:
        """Whether most values of a code are exactly zero, so that their number is of interest. By default not."""
        return False

    @property
    def projection(self) -> Callable[[nn.Sequential], None] | None:
        """What is done to the weights of g after every update, such as a rescaling; ``None``, the default: nothing."""
        return None

    @abstractmethod
    def unsquashed(self) -> "Coder":
        """Return a copy whose code has no activation (``nn.Identity``), because a Gaussian mean is unbounded."""


class MirroredCoder(Coder):
    """Base class of coders whose layers all have one activation, except perhaps the code, and whose decoder mirrors f.

    A subclass is a frozen dataclass with these two fields; see :class:`Dense`.
    """

    activation: Activation
    code_activation: Activation | None

    def check_activations(self) -> None:
        """Raise a ValueError if an activation is unknown."""
        for name in (self.activation, self.last_activation):
            if name not in ACTIVATIONS:
                raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, but got {name!r}.")

    @property
    def last_activation(self) -> str:
        """The name of the activation of the code."""
        return self.code_activation or self.activation

    @property
    def code_range(self) -> tuple[float, float]:
        facts = ACTIVATIONS[self.last_activation]
        return facts.low, facts.high

    def unsquashed(self) -> Self:
        return replace(self, code_activation="linear")  # type: ignore[type-var]


@dataclass(frozen=True)
class Dense(MirroredCoder):
    r"""Fully connected encoder and decoder.

    .. math:: f(x) = \varphi(W x + b), \qquad g(h) = W' h + c

    Args:
        features: Width :math:`H` of the code.
        activation: :math:`\varphi`, applied to every hidden layer and to the code.
        tied: Whether the decoder uses the transposed weights of the encoder, :math:`W' = W^\top`.
        hidden: Widths of the hidden layers between input and code; the decoder mirrors them.
        code_activation: Activation of the code; ``None`` for ``activation``.
        k: Number of units that are active on an example, those with the largest values; ``None``: all. See
            :class:`~aepretrain.parts.sparse_codes.TopK`.
        threshold: Initial threshold that a unit must exceed to be active, learnt by each unit; ``None``: none. See
            :class:`~aepretrain.parts.sparse_codes.JumpReLU`.
        unit_norm: Whether the decoder's weights of each unit of the code are rescaled to norm 1 after every update, so
            that a penalty on the code cannot be evaded by small codes and large weights.
        stochastic: Whether training draws a code of 0 and 1 with the probabilities :math:`f(x)`, which are the code
            everywhere else: see :class:`BernoulliUnits`. The activation of the code must be the sigmoid.

    Raises:
        ValueError: If a number is out of range, an activation is unknown or not the sigmoid of a stochastic code, or
            two options exclude one another.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 14.1. Initial weights: Glorot, Bengio:
        Understanding the difficulty of training deep feedforward neural networks (2010), equation 16.

    Example:
        >>> import torch
        >>> parts = Dense(64, activation="relu").build((1, 28, 28))
        >>> h = parts.encoder(torch.rand(32, 1, 28, 28))
        >>> h.shape, parts.decoder(h).shape
        (torch.Size([32, 64]), torch.Size([32, 1, 28, 28]))
    """

    features: int
    activation: Activation = "sigmoid"
    tied: bool = False
    hidden: tuple[int, ...] = ()
    code_activation: Activation | None = None
    k: int | None = None
    threshold: float | None = None
    unit_norm: bool = False
    stochastic: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in (self.features, *self.hidden):
            if width < 1:
                raise ValueError(f"a Dense layer needs at least 1 unit, but got {width}. Typical are 64 to 2000.")
        self.check_activations()
        if self.k is not None and not 1 <= self.k <= self.features:
            raise ValueError(
                f"k must lie between 1 and features {self.features}, but got {self.k}. Usual are 8 to 128."
            )
        if self.threshold is not None and not 0 < self.threshold < math.inf:
            raise ValueError(f"threshold must be > 0 and finite, but got {self.threshold}. A usual value is 0.001.")
        if self.k is not None and self.threshold is not None:
            raise ValueError(f"k {self.k} and threshold {self.threshold} both choose the active units. Leave one out.")
        if self.unit_norm and self.tied:
            raise ValueError("unit_norm is for a decoder with weights of its own, but tied is set. Leave one out.")
        if self.stochastic and self.last_activation != "sigmoid":
            raise ValueError(
                f"a stochastic code has probabilities, but its activation is {self.last_activation}. Set "
                "code_activation to sigmoid, or leave stochastic out."
            )
        if self.stochastic and self.is_sparse:
            raise ValueError("a stochastic code is 0 or 1 by chance, but k or threshold is set. Leave one of them out.")

    @property
    def is_stochastic(self) -> bool:
        return self.stochastic

    @property
    def is_sparse(self) -> bool:
        return self.k is not None or self.threshold is not None

    @property
    def code_range(self) -> tuple[float, float]:
        low, high = super().code_range
        return (min(low, 0.0), high) if self.is_sparse else (low, high)

    @property
    def projection(self) -> Callable[[nn.Sequential], None] | None:
        return (lambda decoder: unit_norms_(decoder[0])) if self.unit_norm else None  # type: ignore[arg-type]

    def unsquashed(self) -> Self:
        if self.stochastic:
            raise ValueError(
                "stochastic must be false here, but is true: this layer draws its code itself. Leave it out."
            )
        return replace(self, code_activation="linear", k=None, threshold=None)

    def narrowest(self, in_shape: Sequence[int]) -> int:
        return min(self.features, *self.hidden) if self.hidden else self.features

    def build(self, in_shape: Sequence[int]) -> CoderParts:
        in_shape = tuple(in_shape)
        widths = [math.prod(in_shape), *self.hidden, self.features]
        above = [*[self.activation] * len(self.hidden), self.last_activation]
        # The decoder has no output activation: likelihoods take logits.
        below = ["linear", *[self.activation] * len(self.hidden)]

        encoder: list[nn.Module] = [nn.Flatten()] if len(in_shape) > 1 else []
        decoder: list[nn.Module] = [nn.Unflatten(1, in_shape)] if len(in_shape) > 1 else []
        for (lower, upper), up, down in zip(pairwise(widths), above, below, strict=True):
            forward = affine(lower, upper, up)
            encoder += [forward, ACTIVATIONS[up].module()]
            backward = Transposed(forward) if self.tied else affine(upper, lower, down)
            decoder = [backward, ACTIVATIONS[down].module(), *decoder]
        *body, onto_code, activation = encoder
        if self.k is not None:
            activation = nn.Sequential(activation, TopK(self.k))
        if self.threshold is not None:
            activation = nn.Sequential(activation, JumpReLU(self.features, self.threshold))
        if self.unit_norm:
            unit_norms_(decoder[0])  # type: ignore[arg-type]
        if self.stochastic:
            activation = BernoulliUnits()
        return CoderParts(nn.Sequential(*body), onto_code, activation, nn.Sequential(*decoder), (self.features,))


class Transposed(nn.Module):
    r"""Affine map with tied weights, :math:`h \mapsto W^\top h + c`.

    Args:
        linear: The map :math:`x \mapsto W x + b` whose weight is shared. The bias :math:`c` is a new parameter.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = nn.Parameter(linear.weight.new_zeros(linear.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight.t(), self.bias)

    def untied(self) -> nn.Linear:
        """The same map with a copy of the weights."""
        linear = nn.Linear(self.weight.shape[0], self.weight.shape[1])
        linear.load_state_dict({"weight": self.weight.t(), "bias": self.bias})
        return linear


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
