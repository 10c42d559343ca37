"""Noise that is a function of the position in training, never of earlier draws."""

import contextlib
from collections.abc import Iterator

import torch

from aepretrain.layers.base import StageModule
from aepretrain.parts.noise import Noise, derive_seed


class KeyedNoise:
    """The noise of a stage: a function of (seed, stage, epoch, step, rank).

    Args:
        seed: The run's seed.
        stage: The stage's name.
        device: Device on which the noise is drawn.
        rank: Rank of this process.
    """

    def __init__(self, seed: int, stage: str, device: torch.device, rank: int) -> None:
        self.seed = seed
        self.stage = stage
        self.rank = rank
        self.generator = torch.Generator(device=device)

    def key(self, epoch: int, step: int) -> None:
        """Seed the generator for a step, counted within its epoch."""
        self.generator.manual_seed(derive_seed(self.seed, self.stage, epoch, step, self.rank))

    def key_validation(self) -> None:
        """Seed the generator for validation, always alike, so that epochs differ only by their weights."""
        self.generator.manual_seed(derive_seed(self.seed, self.stage, "validation", self.rank))

    @contextlib.contextmanager
    def attached_to(self, module: StageModule) -> Iterator[None]:
        """Make a module draw its noise from here within the block."""
        before, module.noise = module.noise, self.source()
        try:
            yield
        finally:
            module.noise = before

    def source(self) -> Noise:
        """The noise source for a module."""
        return Noise(self.generator)
