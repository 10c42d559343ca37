"""Noise for a batch of many seeds: each seed's rows receive the same noise as when trained alone."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from aepretrain.parts.noise import Noise, derive_seed


class EnsembleNoise(Noise):
    """One generator per seed, each for an equal share of the rows: those of seed 0, then those of seed 1, and so on.

    Args:
        generators: One per seed.

    Raises:
        ValueError: If the rows of a batch cannot be shared equally.

    Example:
        >>> noise = EnsembleNoise([torch.Generator().manual_seed(0) for _ in range(2)])
        >>> u = noise.uniform_like(torch.zeros(4, 3))
        >>> torch.equal(u[:2], u[2:])
        True
    """

    def __init__(self, generators: Sequence[Generator]) -> None:
        super().__init__()
        self._generators = list(generators)

    @property
    def generators(self) -> list[Generator]:
        return self._generators

    def manual_seed(self, seed: int) -> None:
        """Reseed the generators, each with its own seed derived from ``seed``."""
        for place, generator in enumerate(self._generators):
            generator.manual_seed(derive_seed(seed, place))

    def uniform_like(self, x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        u = torch.empty_like(x, dtype=dtype)
        for share, generator in self._shares(u):
            share.uniform_(generator=generator)
        return u

    def normal_like(self, x: Tensor) -> Tensor:
        epsilon = torch.empty_like(x)
        for share, generator in self._shares(epsilon):
            share.normal_(generator=generator)
        return epsilon

    def signs_like(self, x: Tensor) -> Tensor:
        return torch.cat([Noise(generator).signs_like(share) for share, generator in self._shares(x)])

    def other_examples(self, x: Tensor) -> Tensor:
        size = len(x) // len(self._generators)
        others = [Noise(generator).other_examples(share) for share, generator in self._shares(x)]
        return torch.cat([rows + place * size for place, rows in enumerate(others)])

    def _shares(self, x: Tensor) -> list[tuple[Tensor, Generator]]:
        if len(x) % len(self._generators):
            raise ValueError(f"{len(x)} rows cannot be shared equally by {len(self._generators)} generators.")
        return list(zip(x.split(len(x) // len(self._generators)), self._generators, strict=True))
