"""Noise that is a function of its place in the training, never of what was drawn before."""

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
        device: Where the noise is drawn.
        rank: The number of this process.
    """

    def __init__(self, seed: int, stage: str, device: torch.device, rank: int) -> None:
        self.seed = seed
        self.stage = stage
        self.rank = rank
        self.generator = torch.Generator(device=device)

    def key(self, epoch: int, step: int) -> None:
        """Begin the noise of a step, counted in its epoch."""
        self.generator.manual_seed(derive_seed(self.seed, self.stage, epoch, step, self.rank))

    def key_validation(self) -> None:
        """Begin the noise of a validation, which is always the same: epochs differ by their weights alone."""
        self.generator.manual_seed(derive_seed(self.seed, self.stage, "validation", self.rank))

    @contextlib.contextmanager
    def attached_to(self, module: StageModule) -> Iterator[None]:
        """Let the noise of a module come from here for a while."""
        before, module.noise = module.noise, self.source()
        try:
            yield
        finally:
            module.noise = before

    def source(self) -> Noise:
        """What a module draws from."""
        return Noise(self.generator)
