"""Chunks of steps: the loop checks signals, clocks and losses between chunks instead of at every step."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from lightning.fabric import Fabric
from torch import Tensor

from aepretrain.data.batches import Batches
from aepretrain.training.devices import mean_over_processes, wait_for

TARGET_SECONDS = 0.05
"""A chunk takes between this time and four times as long, if its epoch is long enough."""
MAX_STEPS = 1024


@dataclass(frozen=True)
class Chunk:
    """Consecutive batches of one epoch, gathered when they are requested.

    Args:
        batches: Source of the batches.
        order: Indices of the examples in this epoch's order, shape ``(N,)``.
        start: Index of the first batch in its epoch.
        shares: For each batch, begin and end of this process's share in the order.
    """

    batches: Batches
    order: Tensor
    start: int
    shares: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[tuple[int, list[Tensor]]]:
        """Yield every batch with its index in the epoch."""
        yield from enumerate(self.batches.gather_each(self.order, self.shares), self.start)

    @property
    def sizes(self) -> list[int]:
        """How many examples of each batch belong to this process."""
        return [self.batches.own_examples(batch) for batch in range(self.start, self.start + len(self))]


class ChunkLength:
    """Number of steps in the next chunk: fixed, or doubled and halved to reach the target duration.

    Args:
        steps: Steps per chunk; ``None``: chosen by their duration.

    Example:
        >>> length = ChunkLength()
        >>> for seconds in (0.01, 0.02, 0.04, 0.08):
        ...     length.adapt(length.steps, seconds)
        >>> length.steps
        8
    """

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps or 1
        self.is_fixed = steps is not None

    def adapt(self, steps: int, seconds: float) -> None:
        """Adapt to the duration of a chunk; ignore one cut short by the end of an epoch or by a checkpoint."""
        if self.is_fixed or steps < self.steps:
            return
        if seconds < TARGET_SECONDS:
            self.steps = min(2 * self.steps, MAX_STEPS)
        elif seconds > 4 * TARGET_SECONDS:
            self.steps = max(self.steps // 2, 1)

    def learn(self, steps: int, start: float, fabric: Fabric) -> None:
        """Adapt to a chunk that started at ``perf_counter`` time ``start``, averaged over all processes."""
        if not self.is_fixed:
            wait_for(fabric.device)
            seconds = torch.tensor(time.perf_counter() - start, device=fabric.device)
            self.adapt(steps, float(mean_over_processes(fabric, seconds)))


def chunks(
    batches: Batches, epoch: int, first: int, length: ChunkLength, stop_every: int | None = None, block: int = 1
) -> Iterator[Chunk]:
    """Yield the batches of an epoch in chunks, which end with the epoch and where a checkpoint is due or a block ends.

    Args:
        batches: The batches.
        epoch: The epoch, which determines the order.
        first: Index of the first batch.
        length: Number of batches in a chunk.
        stop_every: Chunks end at multiples of this many steps, counted from the first epoch; ``None``: no such limit.
        block: Chunks that would end within a block of so many batches, counted in each epoch, end with the block.

    Example:
        >>> from torch import arange
        >>> batches = Batches([arange(6)], 2, shuffle=False)
        >>> [(chunk.start, chunk.sizes) for chunk in chunks(batches, 0, 0, ChunkLength(2))]
        [(0, [2, 2]), (2, [2])]
    """
    batches.sampler.set_epoch(epoch)
    order, shares = batches.order(), batches.shares()
    batches.announce(order, shares[first:])
    before = epoch * len(shares)
    while first < len(shares):
        stop = min(first + length.steps, len(shares))
        if stop_every is not None:
            stop = min(stop, first + stop_every - (before + first) % stop_every)
        stop = min(-(-stop // block) * block, len(shares))
        yield Chunk(batches, order, first, shares[first:stop])
        first = stop
