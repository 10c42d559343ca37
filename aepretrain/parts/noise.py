"""Random numbers, which may depend on a key alone, never on what was drawn before."""

import hashlib

import torch
from torch import Generator, Tensor


def derive_seed(*key: int | str) -> int:
    """A seed for :class:`torch.Generator` that is a function of a key.

    Two keys that differ in one place give unrelated seeds, so that noise, batch order and initial weights may be
    drawn in any order, or again after a restart, without a change in any of them.

    Args:
        key: Numbers and words that name the place, such as ``(seed, "00-denoising", epoch, step, rank)``.

    Returns:
        A whole number in ``[0, 2**63)``.

    Example:
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
        True
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 4)
        False
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Noise:
    """A source of random numbers, drawn in the shape of a tensor.

    Args:
        generator: Where they come from, on the device of the tensors; ``None`` is torch's global generator.

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
        """All generators that numbers are drawn from, but for the global one."""
        return [] if self.generator is None else [self.generator]

    def manual_seed(self, seed: int) -> None:
        """Begin anew: what is drawn from now on is a function of the seed."""
        if self.generator is None:
            torch.manual_seed(seed)
        else:
            self.generator.manual_seed(seed)

    def uniform_like(self, x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """Uniform numbers in ``[0, 1)``, in the shape of ``x`` and, unless ``dtype`` is given, of its type."""
        return torch.empty_like(x, dtype=dtype).uniform_(generator=self.generator)

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal numbers, in the shape and of the type of ``x``."""
        return torch.empty_like(x).normal_(generator=self.generator)

    def signs_like(self, x: Tensor) -> Tensor:
        """1 or -1 by fair coins, in the shape and of the type of ``x``."""
        return torch.randint(0, 2, x.shape, generator=self.generator, device=x.device).to(x) * 2 - 1

    def other_examples(self, x: Tensor) -> Tensor:
        """For every value of ``x``, shape ``(B, ...)``, the number of an example that is not its own.

        In a batch of one there is no other: then it is the value's own.
        """
        steps = torch.randint(1, max(len(x), 2), x.shape, generator=self.generator, device=x.device)
        rows = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1))
        return (rows + steps) % len(x)
