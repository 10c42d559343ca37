"""Corruptions: the noise q(x_tilde | x) of a denoising autoencoder, and dropout."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from aepretrain.parts.noise import Noise


class Corruption(ABC):
    r"""A distribution :math:`q(\tilde x \mid x)` over damaged copies of an input."""

    @abstractmethod
    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        """Draw one damaged copy of every example.

        Args:
            x: Clean examples, shape ``(B, ...)``; they are left as they are.
            noise: Where all random numbers come from.

        Returns:
            Damaged examples, shape ``(B, ...)``.
        """


def check_probability(name: str, p: float, remedy: str) -> None:
    """Raise a ValueError unless ``0 <= p < 1``."""
    if not 0 <= p < 1:
        raise ValueError(f"{name} p must lie in [0, 1), but got {p}. {remedy}")


def keep_mask(x: Tensor, p: float, noise: Noise) -> Tensor:
    """Ones with probability ``1 - p``, else zeros, in the shape of ``x``."""
    # Faster than bernoulli_; uniform numbers of half precision would be too coarse to compare with p.
    u = noise.uniform_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    return u.ge_(p).to(x.dtype)


@dataclass(frozen=True)
class NoCorruption(Corruption):
    r"""No noise: :math:`\tilde x = x`. It turns a denoising autoencoder into a plain one.

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
        p: Probability that a feature is erased, in ``[0, 1)``.

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
class SaltAndPepper(Corruption):
    r"""Salt-and-pepper noise: with probability p a feature becomes its lowest or its highest value, by a fair coin.

    Args:
        p: Probability that a feature is replaced, in ``[0, 1)``.
        low: The value of pepper.
        high: The value of salt.

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
    r"""Swap noise: with probability p a feature takes the value that it has in another example of the batch.

    The noise for tables: every damaged value is a value that the column really takes. A batch of one has no other
    example, and stays as it is.

    Args:
        p: Probability that a feature is replaced, in ``[0, 1)``.

    Raises:
        ValueError: If ``p`` lies outside ``[0, 1)``.

    Reference:
        Jahrer: winning entry of Porto Seguro's Safe Driver Prediction (2017), p = 0.15.

    Example:
        >>> SwapNoise(0.15)(torch.rand(8, 3)).shape
        torch.Size([8, 3])
    """

    p: float = 0.15

    def __post_init__(self) -> None:
        check_probability("swap noise", self.p, "At p=1 nothing of the input is left; published is 0.15.")

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        donors = noise.other_examples(x)
        return torch.where(keep_mask(x, self.p, noise).bool(), x, x.gather(0, donors))


@dataclass(frozen=True)
class Dropout(Corruption):
    r"""Dropout: a feature is set to zero with probability p, and what is left is scaled to keep its mean.

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
        """The factors :math:`m`, in the shape of ``h``: 0 or ``1 / (1 - p)``, with mean 1."""
        return keep_mask(h, self.p, noise) / (1 - self.p)

    def __call__(self, x: Tensor, noise: Noise = Noise()) -> Tensor:
        return x * self.mask(x, noise)
