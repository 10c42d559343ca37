"""Seeded, rank-aware batches of tensors or of rows that are read ahead."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, distributed

from aepretrain.data.rows import Inputs, Rows, announce
from aepretrain.errors import ConfigError, DataError
from aepretrain.parts.noise import derive_seed

GATHERED = 256 * 1024
"""Bytes of small batches that are gathered together."""
ALIGNED = 64
"""Bytes to which torch aligns the memory of a tensor; elsewhere, matrix products may round in another way."""
EVALUATION_BATCH = 1024
"""Batch size for validation and test."""
SHARE_EQUALLY = (
    "batch_size counts the examples of all processes: {batch_size} cannot be shared equally by {processes}. "
    "Use a multiple of {processes}."
)


def rank_and_world_size() -> tuple[int, int]:
    """Rank of this process and number of processes; ``(0, 1)`` without a process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class EpochOrder:
    """The order of the examples as a function of (seed, epoch). Lightning sets the epoch.

    Args:
        seed: Any whole number. The order does not depend on the global random state.
        shuffle: Whether to shuffle; else the data's own order is kept.
    """

    def __init__(self, seed: int, shuffle: bool) -> None:
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self.epoch = epoch

    def indices(self, count: int) -> Tensor:
        """Indices of ``count`` examples in this epoch's order, shape ``(count,)``."""
        if not self.shuffle:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", self.epoch))
        return torch.randperm(count, generator=generator)


class Batches:
    """Batches of examples from tensors, gathered by index on the tensors' device.

    ``batch_size`` counts the examples of one optimizer step over all processes. The processes share every batch, so the
    batches and their order do not depend on the number of processes. Shares are equal but for the last batch of a
    shuffled epoch: there :meth:`weight` makes the mean over processes that of the batch. A process that gets no example
    of it computes the whole, which then counts nothing, since all processes take every step together.

    Args:
        tensors: One or more tensors, or :class:`~aepretrain.data.rows.Rows`, of shape ``(N, ...)``; rows with the same
            index belong to the same example.
        batch_size: Examples per optimizer step, over all processes.
        seed: Seed of the order.
        shuffle: Whether every epoch is shuffled anew. Without shuffling, every example is seen exactly once.

    Raises:
        DataError: If there are no examples, or fewer examples than processes.
        ConfigError: If the batch size is below 1, or the processes cannot share it equally.

    Example:
        >>> batches = Batches([torch.arange(5)], batch_size=2, seed=0)
        >>> len(batches), sorted(i for (x,) in batches for i in x.tolist())
        (3, [0, 1, 2, 3, 4])
    """

    batch_sampler = None  # Lightning reads this attribute of every loader that has a sampler

    def __init__(self, tensors: Sequence[Inputs], batch_size: int, *, seed: int = 0, shuffle: bool = True) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be >= 1, but got {batch_size}. Usual values are 20 to 1024.")
        if len(tensors[0]) == 0:
            raise DataError("there are no examples to make batches of. Check the data set and its split.")
        self.tensors = list(tensors)
        self.batch_size = batch_size
        self.sampler = EpochOrder(seed, shuffle)

    @property
    def count(self) -> int:
        """The number of examples, over all processes."""
        return self.tensors[0].shape[0]  # takes a fifth of the time of len(), and is asked for in every step

    def __len__(self) -> int:
        return len(self.shares())

    def __iter__(self) -> Iterator[list[Tensor]]:
        order, shares = self.order(), self.shares()
        self.announce(order, shares)
        yield from self.gather_each(order, shares)

    def announce(self, order: Tensor, shares: Sequence[tuple[int, int]]) -> None:
        """Start reading rows ahead from files: these parts of the order will be requested, in sequence."""
        announce(self.tensors, order, shares)

    def order(self) -> Tensor:
        """Indices of the examples in this epoch's order, shape ``(N,)``, on the device that indexing expects."""
        first = self.tensors[0]
        return self.sampler.indices(self.count).to(first.index_device if isinstance(first, Rows) else first.device)

    def gather(self, rows: Tensor) -> list[Tensor]:
        """The batch with these indices."""
        return [_select(tensor, rows) for tensor in self.tensors]

    def gather_each(self, order: Tensor, shares: Sequence[tuple[int, int]]) -> Iterator[list[Tensor]]:
        """The batches of these shares of an order. Small ones are gathered together, which spares time."""
        together, row_bytes = self._gathered_together(), self._row_bytes()
        for first in range(0, len(shares), together):
            group = shares[first : first + together]
            sizes = [end - begin for begin, end in group]
            follow = len(group) > 1 and all(end == begin for (_, end), (begin, _) in pairwise(group))
            if follow and not any(size * each % ALIGNED for size in sizes[:-1] for each in row_bytes):
                rows = self.gather(order[group[0][0] : group[-1][1]])
                yield from map(list, zip(*(tensor.split(sizes) for tensor in rows), strict=True))
            else:
                yield from (self.gather(order[begin:end]) for begin, end in group)

    def _gathered_together(self) -> int:
        """How many batches are gathered together at most; those of a file come one by one, as they are read ahead."""
        if any(isinstance(tensor, Rows) for tensor in self.tensors):
            return 1
        return max(1, GATHERED // max(sum(self._row_bytes()) * self.batch_size, 1))

    def _row_bytes(self) -> list[int]:
        return [tensor[0].nbytes for tensor in self.tensors if isinstance(tensor, Tensor)]

    def rows(self, epoch: int, batch: int) -> Tensor:
        """Indices of the examples in a batch, over all processes, in the order of ``epoch``."""
        order = EpochOrder(self.sampler.seed, self.sampler.shuffle)
        order.set_epoch(epoch)
        return order.indices(self.count)[batch * self.batch_size : (batch + 1) * self.batch_size]

    def size(self, batch: int) -> int:
        """The number of examples of a batch of a shuffled epoch, over all processes."""
        return min(self.batch_size, self.count - batch * self.batch_size)

    def is_whole(self, batch: int) -> bool:
        """Whether a batch is as large as the first of its epoch: all batches but a smaller last one."""
        return self.size(batch) == self.size(0)

    def own_examples(self, batch: int) -> int:
        """How many of them belong to this process."""
        (rank, world_size), size = rank_and_world_size(), self.size(batch)
        return size // world_size + (rank < size % world_size)

    def weight(self, batch: int) -> float:
        """Factor on this process's mean over a batch that makes the mean over processes that of the whole batch.

        Example:
            >>> Batches([torch.arange(5)], batch_size=2).weight(2)
            1.0
        """
        if self.size(batch) == self.batch_size:
            return 1.0
        return self.own_examples(batch) * rank_and_world_size()[1] / self.size(batch)

    def shares(self) -> list[tuple[int, int]]:
        """For each batch, begin and end of this process's share in the epoch's order."""
        rank, world_size = rank_and_world_size()
        if self.count < world_size:
            raise DataError(f"{self.count} examples cannot be shared by {world_size} processes. Use fewer devices.")
        return self._training_shares(rank, world_size) if self.sampler.shuffle else self._whole_shares(rank, world_size)

    def _training_shares(self, rank: int, world_size: int) -> list[tuple[int, int]]:
        if self.batch_size % world_size:
            raise ConfigError(SHARE_EQUALLY.format(batch_size=self.batch_size, processes=world_size))
        return [self._training_share(batch, rank, world_size) for batch in range(-(-self.count // self.batch_size))]

    def _training_share(self, batch: int, rank: int, world_size: int) -> tuple[int, int]:
        begin, size, own = batch * self.batch_size, self.size(batch), self.own_examples(batch)
        if not own:
            return begin, begin + size
        begin += rank * (size // world_size) + min(rank, size % world_size)
        return begin, begin + own

    def _whole_shares(self, rank: int, world_size: int) -> list[tuple[int, int]]:
        batches = min(-(-self.count // self.batch_size), self.count // world_size)
        mine = torch.arange(self.count).tensor_split(world_size)[rank]
        return [(int(part[0]), int(part[-1]) + 1) for part in mine.tensor_split(batches)]


def _select(x: Inputs, rows: Tensor) -> Tensor:
    """The rows with these indices: what ``x[rows]`` returns, in a fifth of the time for tensors."""
    return x[rows] if isinstance(x, Rows) else x.index_select(0, rows.to(x.device))
