"""Dispatches: so many batches of an epoch that Lightning's loop costs little beside the work on them."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from aepretrain.data.batches import Batches, EpochOrder

ENOUGH_SECONDS = 0.05
"""A dispatch takes between this time and four times as long, if its epoch is long enough."""
MOST_STEPS = 1024


class Dispatch:
    """Consecutive batches of one epoch, gathered one after another as they are asked for.

    Args:
        batches: Where they come from.
        order: The examples' numbers in the order of this epoch, shape ``(N,)``.
        start: The number of the first batch in its epoch.
        shares: For each batch, where this process's share of it begins and ends in the order.

    Example:
        >>> dispatch = next(iter(Dispatches(Batches([torch.arange(6)], 2, shuffle=False), Pace(steps=2))))
        >>> dispatch.start, dispatch.sizes, [x.tolist() for (x,) in dispatch]
        (0, [2, 2], [[0, 1], [2, 3]])
    """

    def __init__(self, batches: Batches, order: Tensor, start: int, shares: Sequence[tuple[int, int]]) -> None:
        self.batches = batches
        self.order = order
        self.start = start
        self.shares = shares

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for begin, end in self.shares:
            yield self.batches.gather(self.order[begin:end])

    @property
    def sizes(self) -> list[int]:
        """How many examples each batch has in this process."""
        return [end - begin for begin, end in self.shares]


class Pace:
    """How many steps the next dispatch takes: what was asked for, or doubled until a dispatch takes long enough.

    Args:
        steps: Steps per dispatch; ``None``: by the time they take.

    Example:
        >>> pace = Pace()
        >>> for seconds in (0.01, 0.02, 0.04, 0.08):
        ...     pace.took(pace.steps, seconds)
        >>> pace.steps
        8
    """

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps or 1
        self.adapts = steps is None

    def took(self, steps: int, seconds: float) -> None:
        """Learn from a dispatch; one that was cut short by the end of an epoch teaches nothing."""
        if not self.adapts or steps != self.steps:
            return
        if seconds < ENOUGH_SECONDS:
            self.steps = min(2 * self.steps, MOST_STEPS)
        elif seconds > 4 * ENOUGH_SECONDS:
            self.steps = max(self.steps // 2, 1)


class Dispatches:
    """The loader that Lightning sees: batches in dispatches that end with the epoch and where a checkpoint is due.

    It tells no length, as the dispatches of an epoch are not known beforehand.

    Args:
        batches: The batches.
        pace: How many of them one dispatch has.
        stop_every: A dispatch does not go across a multiple of so many steps; ``None``: wherever it likes.
    """

    batch_sampler = None  # Lightning asks every loader that has a sampler

    def __init__(self, batches: Batches, pace: Pace, stop_every: int | None = None) -> None:
        self.batches = batches
        self.pace = pace
        self.stop_every = stop_every
        self.steps = len(batches)
        """Steps per epoch."""
        self._start = 0

    @property
    def sampler(self) -> EpochOrder:
        """The order of the examples; Lightning sets its epoch."""
        return self.batches.sampler

    def __iter__(self) -> Iterator[Dispatch]:
        start, self._start = self._start, 0
        before, order, shares = self.sampler.epoch * self.steps, self.batches.order(), self.batches.shares()
        self.batches.announce(order, shares[start:])
        while start < self.steps:
            stop = min(start + self.pace.steps, self.steps)
            if self.stop_every is not None:
                stop = min(stop, start + self.stop_every - (before + start) % self.stop_every)
            yield Dispatch(self.batches, order, start, shares[start:stop])
            start = stop

    def go_on(self, epoch: int, step: int) -> None:
        """Let the next epoch be this one, and begin with this step of it."""
        self.sampler.set_epoch(epoch)
        self._start = step
