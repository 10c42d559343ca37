"""The fully connected coder, with the options of sparse, stochastic and tied codes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from aepretrain.parts.activations import ACTIVATIONS, Activation, BernoulliUnits, affine
from aepretrain.parts.coders import CoderParts, MirroredCoder
from aepretrain.parts.norms import unit_norms_
from aepretrain.parts.sparse_codes import BANDWIDTH, JumpReLU, TopK


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
        bandwidth: How near to its threshold a value must come for the threshold to learn from it, in units of the
            code: wider learns from more values, and less exactly.
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
    bandwidth: float = BANDWIDTH
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
        if not 0 < self.bandwidth < math.inf:
            raise ValueError(f"bandwidth must be > 0 and finite, but got {self.bandwidth}. A usual value is 0.001.")
        if self.threshold is None and self.bandwidth != BANDWIDTH:
            raise ValueError(f"bandwidth {self.bandwidth} is that of a threshold, but threshold is None. Set both.")
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
            activation = nn.Sequential(activation, JumpReLU(self.features, self.threshold, self.bandwidth))
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
