"""Mean and variance of data that come in parts."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    r"""Count, mean and summed squared deviations of each feature; two of them combine into that of both.

    .. math:: \bar x = \bar x_a + \delta \frac{n_b}{n}, \qquad
              S = S_a + S_b + \delta^2 \frac{n_a n_b}{n}, \qquad \delta = \bar x_b - \bar x_a

    Deviations from the mean are summed, never raw squares, so a mean far from zero cancels no digits.

    Reference:
        Chan, Golub, LeVeque: Algorithms for Computing the Sample Variance (1983), equation 2.1.

    Example:
        >>> both = Moments.of(torch.tensor([[1000.0], [1001.0]])).combine(Moments.of(torch.tensor([[1002.0]])))
        >>> both.mean.item(), round(both.variance.item(), 4)
        (1001.0, 0.6667)
    """

    examples: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Moments":
        """The moments of ``x``, shape ``(N, ...)``, over its first dimension, summed in float64."""
        deviations = x.to(torch.float64, copy=True)
        mean = deviations.mean(dim=0)
        squares = deviations.sub_(mean).square_().sum(dim=0)
        return cls(torch.tensor(len(x), device=x.device), mean.to(x.dtype), squares.to(x.dtype))

    @property
    def variance(self) -> Tensor:
        """The population variance of each feature."""
        return self.squares / self.examples

    def combine(self, other: "Moments") -> "Moments":
        """The moments of the data of both."""
        examples, shift = self.examples + other.examples, other.mean - self.mean
        share = other.examples.to(self.mean.dtype) / examples
        squares = self.squares + other.squares + shift.square() * (self.examples * share)
        return Moments(examples, self.mean + shift * share, squares)
