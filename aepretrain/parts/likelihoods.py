"""Likelihoods: losses L(x, y) = -log p(x | y), in nats, one value per example, and draws of x given y."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aepretrain.parts.noise import Noise
from aepretrain.parts.precision import at_least_float32

LEAST_PROBABILITY = 1e-6
"""Means are kept this far from 0 and 1 where a logit is taken."""
ROUNDING = 1e-5
"""Share of the interval by which float32 may round a value out of it: scikit-learn's MinMaxScaler gives 1.0000001."""

MOST_FACTORS = 100
"""Number of factors of at most 2 whose product float32 holds."""


class Likelihood(ABC):
    r"""Base class of distributions :math:`p(x \mid y)` of the input, given the decoder output y."""

    support: tuple[float, float] = (-math.inf, math.inf)
    """The closed interval of valid values of x, up to rounding."""

    @abstractmethod
    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Compute the loss :math:`L(x, y) = -\log p(x \mid y)`.

        Args:
            x: Targets, shape ``(B, ...)``.
            y: Decoder outputs, shape ``(B, ...)``: logits for discrete distributions.

        Returns:
            Nats per example, summed over features, shape ``(B,)``, in float32 or wider even if y is narrower.
        """

    def without_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss where nothing is differentiated: as a call, up to rounding, and perhaps faster."""
        return self(x, y)

    @abstractmethod
    def per_feature(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each feature, in nats, shape ``(B, D)``: its sum over features is the loss."""

    @abstractmethod
    def mean(self, y: Tensor) -> Tensor:
        """Return the expected input given the decoder output, shape ``(B, ...)``."""

    def sample(self, y: Tensor, noise: Noise = Noise()) -> Tensor:
        r"""Draw :math:`x \sim p(x \mid y)`.

        Args:
            y: Decoder outputs, shape ``(B, ...)``.
            noise: Source of the random numbers.

        Returns:
            One input for every output, shape ``(B, ...)``, without a gradient with respect to y for discrete features.

        Raises:
            NotImplementedError: If the likelihood cannot be sampled.
        """
        raise NotImplementedError(f"a {type(self).__name__} cannot be sampled: it has no method sample. Take its mean.")

    def output_of_mean(self, mean: Tensor) -> Tensor:
        """The output of a decoder whose expected input is ``mean``, shape ``(B, ...)``: the inverse of :meth:`mean`."""
        return mean

    def check(self, x: Tensor) -> None:
        """Raise a ValueError if ``x``, shape ``(B, ...)``, has values that the distribution cannot produce."""
        low, high = self.support
        least, most = x.min().item(), x.max().item()
        slack = ROUNDING * (high - low)
        if least < low - slack or most > high + slack:
            raise ValueError(
                f"{type(self).__name__} takes values in [{low:g}, {high:g}], but the data reach from "
                f"{_digits(least, low)} to {_digits(most, high)}. Scale the data, for "
                "example by data.transform minmax or data.scale byte, or use Gaussian."
            )

    def check_codes(self, below: str, low: float, high: float) -> None:
        """Raise a ValueError if the distribution cannot produce the codes of layer ``below``, in ``[low, high]``."""
        least, most = self.support
        if low < least or high > most:
            raise ValueError(
                f"its likelihood {type(self).__name__} takes values in [{least:g}, {most:g}], but the codes of {below} "
                f"lie in [{low:g}, {high:g}]. Use Gaussian here, or a sigmoid below."
            )


@dataclass(frozen=True)
class Gaussian(Likelihood):
    r"""Normal distribution of unit variance: half the squared error.

    .. math:: L(x, y) = \tfrac12 \lVert x - y \rVert^2

    The constant :math:`\tfrac D2 \log 2\pi` is omitted. Halve penalty weights that were published for
    :math:`\lVert x - y \rVert^2`.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 5.5.1.

    Example:
        >>> Gaussian()(torch.zeros(2, 4), torch.ones(2, 4))
        tensor([2., 2.])
    """

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return 0.5 * self._squares(x, y).sum(dim=1)

    def per_feature(self, x: Tensor, y: Tensor) -> Tensor:
        return 0.5 * self._squares(x, y)

    def _squares(self, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(at_least_float32(y), at_least_float32(x), reduction="none").flatten(1)

    def mean(self, y: Tensor) -> Tensor:
        return y

    def sample(self, y: Tensor, noise: Noise = Noise()) -> Tensor:
        y = at_least_float32(y)
        return y + noise.normal_like(y)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    r"""Independent binary features with logits y: the binary cross-entropy.

    .. math:: L(x, y) = -\sum_i x_i \log \sigma(y_i) + (1 - x_i) \log (1 - \sigma(y_i))

    Values between 0 and 1 are treated as probabilities, as is common for greyscale images.

    Reference:
        Vincent et al.: Stacked Denoising Autoencoders (2010), section 2.2.

    Example:
        >>> Bernoulli()(torch.ones(2, 4), torch.zeros(2, 4))
        tensor([2.7726, 2.7726])
    """

    support = (0.0, 1.0)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return self.per_feature(x, y).sum(dim=1)

    def per_feature(self, x: Tensor, y: Tensor) -> Tensor:
        losses = F.binary_cross_entropy_with_logits(at_least_float32(y), at_least_float32(x), reduction="none")
        return losses.flatten(1)

    def without_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = at_least_float32(x).flatten(1), at_least_float32(y).flatten(1)
        # A sum of log(1 + a) is the logarithm of a product, so many features take one logarithm.
        factors = (y.abs().neg().exp() + 1).split(MOST_FACTORS, dim=1)
        logarithms = torch.stack([part.prod(dim=1) for part in factors], dim=1).log()
        return logarithms.sum(dim=1) + y.clamp(min=0).sum(dim=1) - (x * y).sum(dim=1)

    def mean(self, y: Tensor) -> Tensor:
        return torch.sigmoid(y)

    def sample(self, y: Tensor, noise: Noise = Noise()) -> Tensor:
        return noise.bernoulli(torch.sigmoid(at_least_float32(y)))

    def output_of_mean(self, mean: Tensor) -> Tensor:
        return torch.logit(mean, eps=LEAST_PROBABILITY)


@dataclass(frozen=True)
class Categorical(Likelihood):
    r"""One-hot groups of features with logits y: a softmax over each group.

    .. math:: L(x, y) = -\sum_g \sum_{i \in g} x_i \log \mathrm{softmax}(y_g)_i

    Args:
        groups: Sizes of consecutive groups of features; empty for one group of all features.

    Raises:
        ValueError: If a group has fewer than 2 features.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 6.2.2.3.

    Example:
        >>> Categorical()(torch.eye(4), torch.zeros(4, 4))
        tensor([1.3863, 1.3863, 1.3863, 1.3863])
    """

    groups: tuple[int, ...] = ()

    support = (0.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        for size in self.groups:
            if size < 2:
                raise ValueError(f"a Categorical group needs at least 2 features, but got {size}. Leave it out.")

    def split(self, x: Tensor) -> Sequence[Tensor]:
        """Split ``x`` into its groups, each of shape ``(B, size)``; raise a ValueError if the sizes do not add up."""
        flat = x.flatten(1)
        if not self.groups:
            return [flat]
        if sum(self.groups) != flat.shape[1]:
            raise ValueError(
                f"the groups of Categorical must cover all features: {self.groups} add up to {sum(self.groups)}, "
                f"but there are {flat.shape[1]}."
            )
        return flat.split(self.groups, dim=1)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        x_groups, y_groups = self.split(at_least_float32(x)), self.split(at_least_float32(y))
        losses = [-(a * F.log_softmax(b, dim=1)).sum(dim=1) for a, b in zip(x_groups, y_groups, strict=True)]
        return torch.stack(losses).sum(dim=0)

    def per_feature(self, x: Tensor, y: Tensor) -> Tensor:
        x_groups, y_groups = self.split(at_least_float32(x)), self.split(at_least_float32(y))
        return torch.cat([-a * F.log_softmax(b, dim=1) for a, b in zip(x_groups, y_groups, strict=True)], dim=1)

    def mean(self, y: Tensor) -> Tensor:
        return torch.cat([group.softmax(dim=1) for group in self.split(y)], dim=1).reshape(y.shape)

    def sample(self, y: Tensor, noise: Noise = Noise()) -> Tensor:
        # The largest of logits plus Gumbel noise is a draw of the softmax.
        y = at_least_float32(y)
        gumbel = -(-noise.uniform_like(y).log()).log()
        drawn = [F.one_hot(group.argmax(dim=1), group.shape[1]) for group in self.split(y + gumbel)]
        return torch.cat(drawn, dim=1).to(y.dtype).reshape(y.shape)

    def output_of_mean(self, mean: Tensor) -> Tensor:
        return mean.clamp(min=LEAST_PROBABILITY).log()

    def check_codes(self, below: str, low: float, high: float) -> None:
        raise ValueError(
            f"Categorical is for one-hot data, but the codes of {below} are no choices that add up to 1. "
            "Use Gaussian here, or Bernoulli on sigmoid codes."
        )

    def check(self, x: Tensor) -> None:
        super().check(x)
        for group in self.split(x):
            sums = group.sum(dim=1)
            worst = sums[(sums - 1).abs().argmax()].item()
            if abs(worst - 1) > 1e-3:
                raise ValueError(
                    f"every group of Categorical must add up to 1, but one adds up to {worst:.4g}. "
                    "Encode each choice as one-hot, and name the groups by their sizes."
                )


@dataclass(frozen=True)
class Mixed(Likelihood):
    r"""Features of a table: Gaussian ones first, then Bernoulli ones, then one-hot groups.

    .. math:: L(x, y) = L_{\text{Gaussian}}(x_1, y_1) + L_{\text{Bernoulli}}(x_2, y_2) +
        L_{\text{Categorical}}(x_3, y_3)

    Args:
        gaussian: Number of Gaussian features :math:`x_1`, such as standardized numbers.
        bernoulli: Number of features :math:`x_2` in [0, 1], such as answers of yes and no.
        categorical: Sizes of the one-hot groups :math:`x_3`, one per category column.

    Raises:
        ValueError: If there are no features, a number is negative, or a group has fewer than 2 features.

    Reference:
        Vincent et al.: Stacked Denoising Autoencoders (2010), section 2.2, for each part.

    Example:
        >>> x = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
        >>> Mixed(gaussian=1, bernoulli=1, categorical=(2,))(x, torch.zeros(1, 4))
        tensor([1.3863])
    """

    gaussian: int = 0
    bernoulli: int = 0
    categorical: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "categorical", tuple(self.categorical))
        if min(self.gaussian, self.bernoulli) < 0 or not self.gaussian + self.bernoulli + sum(self.categorical):
            raise ValueError(
                f"Mixed needs at least one feature and no negative number of them, but got gaussian {self.gaussian}, "
                f"bernoulli {self.bernoulli}, categorical {list(self.categorical)}. Leave out what the table lacks."
            )
        Categorical(self.categorical)  # checks the sizes

    @property
    def parts(self) -> list[tuple[Likelihood, int]]:
        """The likelihoods that occur, each with its number of features, in the order of the features."""
        parts: list[tuple[Likelihood, int]] = [
            (Gaussian(), self.gaussian),
            (Bernoulli(), self.bernoulli),
            (Categorical(self.categorical), sum(self.categorical)),
        ]
        return [(likelihood, size) for likelihood, size in parts if size]

    def split(self, x: Tensor) -> list[tuple[Likelihood, Tensor]]:
        """The parts of ``x``, shape ``(B, D)``; raise a ValueError if the sizes do not add up to D."""
        flat, sizes = x.flatten(1), [size for _, size in self.parts]
        if sum(sizes) != flat.shape[1]:
            raise ValueError(
                f"Mixed must cover all features: {self.gaussian} gaussian, {self.bernoulli} bernoulli and groups of "
                f"{list(self.categorical)} add up to {sum(sizes)}, but there are {flat.shape[1]}. Leave the likelihood "
                "out for that of the table."
            )
        parts = flat.split(sizes, dim=1)
        return [(likelihood, part) for (likelihood, _), part in zip(self.parts, parts, strict=True)]

    def _pairs(self, x: Tensor, y: Tensor) -> list[tuple[Likelihood, Tensor, Tensor]]:
        return [(L, x_part, y_part) for (L, x_part), (_, y_part) in zip(self.split(x), self.split(y), strict=True)]

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([L(a, b) for L, a, b in self._pairs(x, y)]).sum(dim=0)

    def per_feature(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([L.per_feature(a, b) for L, a, b in self._pairs(x, y)], dim=1)

    def mean(self, y: Tensor) -> Tensor:
        return torch.cat([L.mean(part) for L, part in self.split(y)], dim=1).reshape(y.shape)

    def sample(self, y: Tensor, noise: Noise = Noise()) -> Tensor:
        return torch.cat([L.sample(part, noise) for L, part in self.split(y)], dim=1).reshape(y.shape)

    def output_of_mean(self, mean: Tensor) -> Tensor:
        return torch.cat([L.output_of_mean(part) for L, part in self.split(mean)], dim=1).reshape(mean.shape)

    def check(self, x: Tensor) -> None:
        for likelihood, part in self.split(x):
            likelihood.check(part)

    def check_codes(self, below: str, low: float, high: float) -> None:
        raise ValueError(
            f"Mixed is for the columns of a table, but the codes of {below} are none. Use Gaussian here, or Bernoulli "
            "on sigmoid codes."
        )


def _digits(value: float, bound: float) -> str:
    """A value with four digits, or with as many as tell it from a bound."""
    texts = (f"{value:.{digits}g}" for digits in range(4, 18))
    return next((text for text in texts if value == bound or float(text) != bound), repr(value))
