"""Coders of somebody else's, with convolutions or batch norms: the package may need no more than their named parts."""

import math
from dataclasses import dataclass, replace

from torch import nn

from aepretrain.parts.coders import Coder, CoderParts


@dataclass(frozen=True)
class ConvCoder(Coder):
    """Convolutions over images of even sides: half the height and half the width, ``channels`` feature maps.

    Args:
        channels: Feature maps of the code.
        hidden: Feature maps of the hidden layer.
        bounded: Whether a sigmoid bounds the code.
        features: Width of a dense code on top; ``None`` is a code of feature maps.
    """

    channels: int = 2
    hidden: int = 3
    bounded: bool = True
    features: int | None = None

    @property
    def code_range(self):
        return (0.0, 1.0) if self.bounded else (-float("inf"), float("inf"))

    def narrowest(self, in_shape):
        _, height, width = in_shape
        maps = min(self.channels, self.hidden) * (height // 2) * (width // 2)
        return maps if self.features is None else min(maps, self.features)

    def unsquashed(self):
        return replace(self, bounded=False)

    def build(self, in_shape):
        channels, height, width = in_shape
        maps = (self.channels, height // 2, width // 2)
        body = [nn.Conv2d(channels, self.hidden, 3, stride=2, padding=1), nn.Tanh()]
        affine = nn.Conv2d(self.hidden, self.channels, 3, padding=1)
        decoder = [
            nn.ConvTranspose2d(self.channels, self.hidden, 3, padding=1),
            nn.Tanh(),
            nn.ConvTranspose2d(self.hidden, channels, 2, stride=2),
        ]
        activation = nn.Sigmoid() if self.bounded else nn.Identity()
        if self.features is None:
            return CoderParts(nn.Sequential(*body), affine, activation, nn.Sequential(*decoder), maps)
        values = maps[0] * maps[1] * maps[2]
        below = nn.Sequential(*body, affine, nn.Tanh(), nn.Flatten())
        decoder = nn.Sequential(nn.Linear(self.features, values), nn.Unflatten(1, maps), *decoder)
        return CoderParts(below, nn.Linear(values, self.features), activation, decoder, (self.features,))


@dataclass(frozen=True)
class NormedCoder(Coder):
    """A hidden layer with batch norm below a dense code.

    Args:
        features: Width of the code.
        hidden: Width of the hidden layer.
    """

    features: int
    hidden: int = 12
    code_range = (0.0, 1.0)

    def narrowest(self, in_shape):
        return min(self.features, self.hidden)

    def unsquashed(self):
        return self

    def build(self, in_shape):
        values = math.prod(in_shape)
        body = nn.Sequential(nn.Flatten(), nn.Linear(values, self.hidden), nn.BatchNorm1d(self.hidden), nn.ReLU())
        decoder = nn.Sequential(nn.Linear(self.features, values), nn.Unflatten(1, tuple(in_shape)))
        return CoderParts(body, nn.Linear(self.hidden, self.features), nn.Sigmoid(), decoder, (self.features,))
