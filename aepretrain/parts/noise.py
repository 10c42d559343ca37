"""Random numbers that can be keyed, so that they do not depend on earlier draws."""

import hashlib

import torch
from torch import Generator, Tensor


def derive_seed(*key: int | str) -> int:
    """Derive a seed for :class:`torch.Generator` from a key.

    Different keys give unrelated seeds, so noise, batch order and initial weights do not depend on the order in which
    they are drawn, and can be redrawn after a restart.

    Args:
        key: Numbers and strings that identify the draw, such as ``(seed, "00-denoising", epoch, step, rank)``.

    Returns:
        An integer in ``[0, 2**63)``.

    Example:
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
        True
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 4)
        False
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Noise:
    """A source of random tensors.

    Args:
        generator: The generator, on the device of the tensors; ``None`` for torch's global generator.

    Example:
        >>> noise = Noise(torch.Generator())
        >>> noise.manual_seed(0)
        >>> u = noise.uniform_like(torch.zeros(4, 3))
        >>> noise.manual_seed(0)
        >>> torch.equal(noise.uniform_like(torch.zeros(4, 3)), u)
        True
    """

    def __init__(self, generator: Generator | None = None) -> None:
        self.generator = generator

    @property
    def generators(self) -> list[Generator]:
        """The generators in use, without the global one."""
        return [] if self.generator is None else [self.generator]

    def manual_seed(self, seed: int) -> None:
        """Seed the generator; later draws depend on the seed alone."""
        if self.generator is None:
            torch.manual_seed(seed)
        else:
            self.generator.manual_seed(seed)

    def uniform_like(self, x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """Draw uniform numbers in ``[0, 1)`` in the shape of ``x``, and in its dtype unless ``dtype`` is given."""
        return torch.empty_like(x, dtype=dtype).uniform_(generator=self.generator)

    def normal_like(self, x: Tensor) -> Tensor:
        """Draw standard normal numbers in the shape and dtype of ``x``."""
        return torch.empty_like(x).normal_(generator=self.generator)

    def bernoulli(self, p: Tensor) -> Tensor:
        """Draw 1 with the probabilities ``p``, else 0, in the shape and dtype of ``p``; where ``p`` is nan, 0."""
        # Uniform numbers in half precision would be too coarse to compare with p.
        return (self.uniform_like(p, dtype=torch.promote_types(p.dtype, torch.float32)) < p).to(p.dtype)

    def signs_like(self, x: Tensor) -> Tensor:
        """Draw 1 or -1 with equal probability, in the shape and dtype of ``x``."""
        return torch.randint(0, 2, x.shape, generator=self.generator, device=x.device).to(x) * 2 - 1

    def other_examples(self, x: Tensor) -> Tensor:
        """Draw, for every value of ``x``, shape ``(B, ...)``, the index of another example.

        In a batch of one example all indices are 0.
        """
        steps = torch.randint(1, max(len(x), 2), x.shape, generator=self.generator, device=x.device)
        rows = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1))
        return (rows + steps) % len(x)
