"""A coder of somebody else's, with batch norms: the package may need no more than its named parts."""

import math
from dataclasses import dataclass

from torch import nn

from aepretrain.parts.coders import Coder, CoderParts


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
