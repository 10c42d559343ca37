"""Random numbers that depend on a key alone, never on what was drawn before."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

Noise = Generator | Sequence[Generator] | None
"""Where random numbers come from: one generator, one for each of equally many rows, or torch's global one."""


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


def uniform_like(x: Tensor, noise: Noise = None, *, dtype: torch.dtype | None = None) -> Tensor:
    """Uniform numbers in ``[0, 1)``, in the shape of ``x``.

    Args:
        x: Shape ``(B, ...)``.
        noise: Where they come from; of several generators each fills an equal share of the rows by itself.
        dtype: Their type; ``None`` is that of ``x``.

    Example:
        >>> one, other = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
        >>> u = uniform_like(torch.zeros(4, 3), [one, other])
        >>> torch.equal(u[:2], u[2:])
        True
    """
    u = torch.empty_like(x, dtype=dtype)
    for part, generator in shares(u, noise):
        part.uniform_(generator=generator)
    return u


def normal_like(x: Tensor, noise: Noise = None) -> Tensor:
    """Standard normal numbers in the shape of ``x``; arguments as of :func:`uniform_like`."""
    epsilon = torch.empty_like(x)
    for part, generator in shares(epsilon, noise):
        part.normal_(generator=generator)
    return epsilon


def shares(x: Tensor, noise: Noise) -> list[tuple[Tensor, Generator | None]]:
    """The rows of ``x`` in equal shares, each with its generator; one share where there is one generator or none.

    Raises:
        ValueError: If the rows cannot be shared equally.
    """
    if noise is None or isinstance(noise, Generator):
        return [(x, noise)]
    if len(x) % len(noise):
        raise ValueError(f"{len(x)} rows cannot be shared equally by {len(noise)} generators.")
    return list(zip(x.split(len(x) // len(noise)), noise, strict=True))
