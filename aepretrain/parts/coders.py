"""Coders build the pair of networks of an autoencoder: the encoder f and the decoder g."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from torch import nn

from aepretrain.parts.activations import ACTIVATIONS, Activation, BernoulliUnits


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
        """Projection of g's weights after every update, such as a rescaling; default ``None``."""
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
