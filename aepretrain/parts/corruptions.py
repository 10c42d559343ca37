"""Corruptions: the noise distributions q(x_tilde | x) of denoising autoencoders, and dropout."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from aepretrain.parts.noise import Noise


class Corruption(ABC):
    r"""Base class of distributions :math:`q(\tilde x \mid x)` over corrupted copies of an input."""

    @abstractmethod
    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        """Draw one corrupted copy of every example.

        Args:
            x: Clean examples, shape ``(B, ...)``; not modified.
            noise: Source of the random numbers.

        Returns:
            Corrupted examples, shape ``(B, ...)``.
        """


def check_probability(name: str, p: float, remedy: str) -> None:
    """Raise a ValueError unless ``0 <= p < 1``."""
    if not 0 <= p < 1:
        raise ValueError(f"{name} p must lie in [0, 1), but got {p}. {remedy}")


def keep_mask(x: Tensor, p: float, noise: Noise) -> Tensor:
    """Draw a mask in the shape of ``x``: 1 with probability ``1 - p``, else 0."""
    # Faster than bernoulli_. Uniform numbers in half precision would be too coarse to compare with p.
    u = noise.uniform_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    return u.ge_(p).to(x.dtype)


@dataclass(frozen=True)
class NoCorruption(Corruption):
    r"""No noise: :math:`\tilde x = x`. Turns a denoising autoencoder into a plain one.

    Example:
        >>> NoCorruption()(torch.ones(2, 3)).sum().item()
        6.0
    """

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        return x


@dataclass(frozen=True)
class Masking(Corruption):
    r"""Masking noise: every feature is set to zero with probability p.

    .. math:: \tilde x_i = m_i x_i, \qquad m_i \sim \mathrm{Bernoulli}(1 - p)

    Args:
        p: Probability that a feature is set to zero, in ``[0, 1)``.

    Raises:
        ValueError: If ``p`` lies outside ``[0, 1)``.

    Reference:
        Vincent et al.: Stacked Denoising Autoencoders (2010), section 3.3.

    Example:
        >>> sorted(Masking(0.5)(torch.ones(4, 100)).unique().tolist())
        [0.0, 1.0]
    """

    p: float = 0.25

    def __post_init__(self) -> None:
        check_probability("masking", self.p, "At p=1 every input would be erased; published values are 0.1 to 0.4.")

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        return x * keep_mask(x, self.p, noise)


@dataclass(frozen=True)
class GaussianNoise(Corruption):
    r"""Additive Gaussian noise.

    .. math:: \tilde x = x + \sigma \epsilon, \qquad \epsilon \sim N(0, I)

    Args:
        std: Standard deviation :math:`\sigma \ge 0`, in units of the input.

    Raises:
        ValueError: If ``std`` is negative or not finite.

    Reference:
        Vincent et al.: Stacked Denoising Autoencoders (2010), section 3.3.

    Example:
        >>> GaussianNoise(0.1)(torch.zeros(4, 3)).shape
        torch.Size([4, 3])
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.std < float("inf"):
            raise ValueError(
                f"Gaussian noise std must be finite and >= 0, but got {self.std}. Published values are 0.05 to 0.5."
            )

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        return x + self.std * noise.normal_like(x)


@dataclass(frozen=True)
class Binarization(Corruption):
    r"""A draw of 0 or 1 for every feature, whose value is the probability of 1; values of 0 and 1 stay as they are.

    .. math:: \tilde x_i \sim \mathrm{Bernoulli}(x_i), \qquad x_i \in [0, 1]

    Reference:
        Salakhutdinov, Murray: On the Quantitative Analysis of Deep Belief Networks (2008), section 6.

    Example:
        >>> sorted(Binarization()(torch.full((4, 100), 0.5)).unique().tolist())
        [0.0, 1.0]
    """

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        return noise.bernoulli(x)


@dataclass(frozen=True)
class SaltAndPepper(Corruption):
    r"""Salt-and-pepper noise: with probability p a feature is set to ``low`` or ``high``, with equal chance.

    Args:
        p: Probability that a feature is replaced, in ``[0, 1)``.
        low: Value of pepper.
        high: Value of salt.

    Raises:
        ValueError: If ``p`` lies outside ``[0, 1)``.

    Reference:
        Vincent et al.: Stacked Denoising Autoencoders (2010), section 3.3.

    Example:
        >>> sorted(SaltAndPepper(0.5)(torch.full((4, 100), 0.5)).unique().tolist())
        [0.0, 0.5, 1.0]
    """

    p: float = 0.25
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_probability("salt-and-pepper", self.p, "At p=1 nothing of the input is left; published are 0.1 to 0.4.")

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        u = noise.uniform_like(x)
        salted = torch.where(u < self.p / 2, torch.full_like(x, self.low), x)
        return torch.where((self.p / 2 <= u) & (u < self.p), torch.full_like(x, self.high), salted)


@dataclass(frozen=True)
class SwapNoise(Corruption):
    r"""Swap noise: with probability p a feature takes its value from another example of the batch.

    Suited to tables: every corrupted value occurs in its column. A batch of one example is returned unchanged.

    Args:
        p: Probability that a feature is replaced, in ``[0, 1)``.
        groups: Sizes of the last groups of features, which are replaced as a whole, such as the one-hot features of a
            category; the features before them are replaced one by one.

    Raises:
        ValueError: If ``p`` lies outside ``[0, 1)``, or the groups have more features than the examples.

    Reference:
        Jahrer: winning entry of Porto Seguro's Safe Driver Prediction (2017), p = 0.15.

    Example:
        >>> SwapNoise(0.15)(torch.rand(8, 3)).shape
        torch.Size([8, 3])
        >>> one_hot = torch.eye(4)
        >>> SwapNoise(0.5, groups=(4,))(one_hot).sum(dim=1)
        tensor([1., 1., 1., 1.])
    """

    p: float = 0.15
    groups: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", tuple(self.groups))
        check_probability("swap noise", self.p, "At p=1 nothing of the input is left; published is 0.15.")

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        if self.groups:
            return self._by_group(x, noise)
        donors = noise.other_examples(x)
        return torch.where(keep_mask(x, self.p, noise).bool(), x, x.gather(0, donors))

    def _by_group(self, x: Tensor, noise: Noise) -> Tensor:
        """Draw one donor and one choice for each single feature and for each group."""
        singles = x.shape[1] - sum(self.groups)
        if x.ndim != 2 or singles < 0:
            raise ValueError(
                f"the groups of swap noise have {sum(self.groups)} features together, but examples have the shape "
                f"{tuple(x.shape[1:])}. Leave the corruption out for that of the table."
            )
        drawn = x[:, : singles + len(self.groups)]
        donors, kept = noise.other_examples(drawn), keep_mask(drawn, self.p, noise).bool()
        return torch.where(self._spread(kept, singles), x, x.gather(0, self._spread(donors, singles)))

    def _spread(self, drawn: Tensor, singles: int) -> Tensor:
        """Give all features of a group what was drawn for it: ``(B, singles + groups)`` to ``(B, D)``."""
        own = drawn[:, singles:].split(1, dim=1)
        wide = [part.expand(-1, size) for part, size in zip(own, self.groups, strict=True)]
        return torch.cat([drawn[:, :singles], *wide], dim=1)


@dataclass(frozen=True)
class Dropout(Corruption):
    r"""Dropout: every feature is set to zero with probability p, and the rest are scaled to keep the mean.

    .. math:: \tilde h = m \odot h, \qquad m_i \sim \mathrm{Bernoulli}(1 - p) / (1 - p)

    Args:
        p: Probability that a feature is dropped, in ``[0, 1)``.

    Raises:
        ValueError: If ``p`` lies outside ``[0, 1)``.

    Reference:
        Srivastava et al.: Dropout (2014), section 10.

    Example:
        >>> sorted(Dropout(0.5)(torch.ones(4, 100)).unique().tolist())
        [0.0, 2.0]
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability("dropout", self.p, "At p=1 nothing is left; published values are 0.1 to 0.5.")

    def mask(self, h: Tensor, noise: Noise = Noise()) -> Tensor:
        """Draw the factors :math:`m`, in the shape of ``h``: 0 or ``1 / (1 - p)``, with mean 1."""
        return keep_mask(h, self.p, noise) / (1 - self.p)

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        return x * self.mask(x, noise)
