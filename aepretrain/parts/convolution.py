"""The convolutional coder: feature maps of pictures, and of windows of sensors or spectra."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from aepretrain.parts.activations import ACTIVATIONS, Activation, affine, initialized
from aepretrain.parts.coders import CoderParts, MirroredCoder
from aepretrain.parts.dense import Transposed

Shape = tuple[int, ...]
CONVOLUTIONS: dict[int, tuple[Any, Any]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
}
"""Convolution and transposed convolution, by the number of axes of a map."""


@dataclass(frozen=True)
class Conv(MirroredCoder):
    r"""Convolutional encoder and the decoder of transposed convolutions that mirrors it.

    .. math:: f(x) = \varphi(W * x + b), \qquad g(h) = W' *^\top h + c

    Convolutions run over the positions of inputs ``(channels, length)``, such as windows of sensors, or
    ``(channels, height, width)``, pictures; a row ``(length,)``, such as a spectrum, is one channel. An axis of
    :math:`n` positions has :math:`\lfloor (n + 2p - k) / s \rfloor + 1` positions in the map above, and the decoder
    gives exactly :math:`n` back.

    Args:
        channels: Feature maps of the last convolution, which are the code unless ``features`` is given.
        kernel_size: Width :math:`k` of the kernels, along every axis.
        stride: Step :math:`s` of the kernels: every layer divides each axis by it.
        padding: Zeros :math:`p` around the input of every convolution. ``None`` is :math:`\lfloor (k - 1) / 2 \rfloor`:
            then a stride of 1 keeps the size of a map, if kernels are odd.
        activation: :math:`\varphi`, applied to every hidden layer and to the code.
        tied: Whether the decoder uses the weights of the encoder, :math:`W' = W`.
        hidden: Feature maps of convolutions between input and ``channels``, with the same kernels and strides.
        code_activation: Activation of the code; ``None`` for ``activation``.
        features: Width of a dense code above the feature maps; ``None`` for a code of feature maps.

    Raises:
        ValueError: If a number is out of range, an activation is unknown, or inputs are too small for the kernels.

    Reference:
        Masci, Meier, Ciresan, Schmidhuber: Stacked Convolutional Auto-Encoders for Hierarchical Feature Extraction
        (2011); Dumoulin, Visin: A guide to convolution arithmetic for deep learning (2016), relationships 6 and 14.

    Example:
        >>> import torch
        >>> parts = Conv(16, kernel_size=5, activation="relu").build((1, 28, 28))
        >>> h = parts.encoder(torch.rand(32, 1, 28, 28))
        >>> h.shape, parts.decoder(h).shape
        (torch.Size([32, 16, 14, 14]), torch.Size([32, 1, 28, 28]))
        >>> Conv(8, kernel_size=9, hidden=(4,), features=12).build((3, 101)).code_shape
        (12,)
    """

    channels: int
    kernel_size: int = 3
    stride: int = 2
    padding: int | None = None
    activation: Activation = "sigmoid"
    tied: bool = False
    hidden: tuple[int, ...] = ()
    code_activation: Activation | None = None
    features: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for maps in (self.channels, *self.hidden):
            if maps < 1:
                raise ValueError(f"a Conv layer needs at least 1 feature map, but got {maps}. Typical are 16 to 128.")
        if self.kernel_size < 1:
            raise ValueError(f"kernel_size must be at least 1, but got {self.kernel_size}. Typical are 3 to 9.")
        if not 1 <= self.stride <= self.kernel_size:
            raise ValueError(
                f"stride must lie between 1 and kernel_size {self.kernel_size}, but got {self.stride}. Longer strides "
                "step over inputs that no kernel reads."
            )
        if not 0 <= self.zeros < self.kernel_size:
            raise ValueError(
                f"padding must lie between 0 and kernel_size - 1 = {self.kernel_size - 1}, but got {self.zeros}. "
                "Beyond, kernels read zeros alone."
            )
        if self.features is not None and self.features < 1:
            raise ValueError(f"features must be at least 1, but got {self.features}. Leave it out for a code of maps.")
        self.check_activations()

    @property
    def zeros(self) -> int:
        """Number of zeros at each end of an axis."""
        return (self.kernel_size - 1) // 2 if self.padding is None else self.padding

    def shapes(self, in_shape: Sequence[int]) -> list[Shape]:
        """Shapes of the input and of the maps of every convolution, each ``(channels, *positions)``.

        Args:
            in_shape: Shape of one example, without the batch dimension.

        Raises:
            ValueError: If inputs have another number of axes, or too few positions.
        """
        if len(in_shape) not in (1, 2, 3):
            raise ValueError(
                "Conv takes inputs of shape (length,), (channels, length) or (channels, height, width), but got "
                f"{tuple(in_shape)}. Reshape the data, or take Dense."
            )
        shapes = [tuple(in_shape) if len(in_shape) > 1 else (1, *in_shape)]
        for maps in (*self.hidden, self.channels):
            positions = shapes[-1][1:]
            if min(positions) + 2 * self.zeros < self.kernel_size:
                raise ValueError(
                    f"kernel_size {self.kernel_size} is larger than a map of {' x '.join(map(str, positions))} with "
                    f"padding {self.zeros}. Take smaller kernels or strides, more padding, or fewer layers."
                )
            above = ((n + 2 * self.zeros - self.kernel_size) // self.stride + 1 for n in positions)
            shapes.append((maps, *above))
        return shapes

    def narrowest(self, in_shape: Sequence[int]) -> int:
        sizes = [math.prod(shape) for shape in self.shapes(in_shape)[1:]]
        return min(sizes) if self.features is None else min(*sizes, self.features)

    def build(self, in_shape: Sequence[int]) -> CoderParts:
        maps = self.shapes(in_shape)
        above: list[str] = [self.activation] * len(maps[1:])
        if self.features is None:
            above[-1] = self.last_activation
        # The decoder has no output activation: likelihoods take logits.
        below = ["linear", *[self.activation] * len(self.hidden)]

        encoder: list[nn.Module] = [nn.Unflatten(1, maps[0])] if len(in_shape) == 1 else []
        decoder: list[nn.Module] = [nn.Flatten()] if len(in_shape) == 1 else []
        for (lower, upper), up, down in zip(pairwise(maps), above, below, strict=True):
            forward, backward = self._convolutions(lower, upper, up, down)
            encoder += [forward, ACTIVATIONS[up].module()]
            decoder = [backward, ACTIVATIONS[down].module(), *decoder]
        if self.features is not None:
            values = math.prod(maps[-1])
            dense = affine(values, self.features, self.last_activation)
            mirrored = Transposed(dense) if self.tied else affine(self.features, values, self.activation)
            encoder += [nn.Flatten(), dense, ACTIVATIONS[self.last_activation].module()]
            decoder = [mirrored, ACTIVATIONS[self.activation].module(), nn.Unflatten(1, maps[-1]), *decoder]
        *body, onto_code, activation = encoder
        code_shape = maps[-1] if self.features is None else (self.features,)
        return CoderParts(nn.Sequential(*body), onto_code, activation, nn.Sequential(*decoder), code_shape)

    def _convolutions(self, lower: Shape, upper: Shape, up: str, down: str) -> tuple[nn.Module, nn.Module]:
        """A convolution between maps of two shapes, and the transposed convolution back."""
        convolution, transposed = CONVOLUTIONS[len(lower) - 1]
        how = {"stride": self.stride, "padding": self.zeros}
        forward = initialized(convolution(lower[0], upper[0], self.kernel_size, **how), up)
        # Positions at the end of an axis that no kernel reads, because the strides do not divide it.
        rest = tuple((n + 2 * self.zeros - self.kernel_size) % self.stride for n in lower[1:])
        if self.tied:
            return forward, TransposedConvolution(forward, rest)
        return forward, initialized(transposed(upper[0], lower[0], self.kernel_size, output_padding=rest, **how), down)


class TransposedConvolution(nn.Module):
    r"""Transposed convolution with tied weights, :math:`h \mapsto W *^\top h + c`.

    Args:
        convolution: The convolution :math:`x \mapsto W * x + b` whose weight is shared. The bias :math:`c` is a new
            parameter.
        output_padding: Positions that are added at the end of every axis, to mirror an input that the strides do not
            divide.
    """

    def __init__(self, convolution: nn.Conv1d | nn.Conv2d, output_padding: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.bias = nn.Parameter(convolution.weight.new_zeros(convolution.in_channels))
        self.how = {"stride": convolution.stride, "padding": convolution.padding, "output_padding": output_padding}

    def forward(self, h: Tensor) -> Tensor:
        convolve: Any = F.conv_transpose1d if self.weight.ndim == 3 else F.conv_transpose2d
        return convolve(h, self.weight, self.bias, **self.how)

    def untied(self) -> nn.Module:
        """The same map with a copy of the weights."""
        above, below, *kernel = self.weight.shape
        convolution = CONVOLUTIONS[len(kernel)][1](above, below, tuple(kernel), **self.how)
        convolution.load_state_dict({"weight": self.weight, "bias": self.bias})
        return convolution
