"""Inputs that are not a float32 tensor in memory, with the row indexing of a tensor."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

PIECE = 4 << 20
"""Bytes of float32 per chunk when all rows are scanned."""


class Rows(ABC):
    """Rows stored in a file or in another type, returned as float32 tensors on request.

    Batches use the same interface as of a tensor: the length, ``rows[numbers]`` and the device.
    """

    device: torch.device
    """Device of the returned rows."""
    shape: torch.Size
    """``(N, ...)``, as for a tensor."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Size of all rows as float32, in bytes."""
        return self.shape.numel() * torch.float32.itemsize

    @property
    def index_device(self) -> torch.device:
        """Device on which row indices are expected."""
        return self.device

    @abstractmethod
    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The rows with these indices, in this order, as a new float32 tensor."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same rows, returned on another device."""

    @abstractmethod
    def subset(self, rows: Tensor) -> "Rows":
        """A selection of the rows, without copying file contents."""

    @abstractmethod
    def scan(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows once, in chunks of bounded size and in the fastest order: (row numbers, rows).

        A row number identifies the origin of a row, such as its index in a file.
        """

    @abstractmethod
    def batches(self, size: int) -> Iterator[Tensor]:
        """All rows once, in order, ``size`` rows at a time."""

    @abstractmethod
    def prefetch(self, rows: Tensor) -> None:
        """Announce the rows that will be requested next, in this order, so that reading ahead may begin."""


Inputs = Tensor | Rows
"""Inputs that a stage can train on."""


def choose(x: Inputs, rows: Tensor) -> Inputs:
    """A selection of rows: a copy for a tensor, else :meth:`Rows.subset`."""
    return x.subset(rows) if isinstance(x, Rows) else x[rows]


def complement(rows: Tensor, count: int) -> Tensor:
    """The numbers below ``count`` that are not among the rows, in order.

    Example:
        >>> complement(torch.tensor([3, 0]), 5).tolist()
        [1, 2, 4]
    """
    return torch.ones(count, dtype=torch.bool).index_fill(0, rows, False).nonzero().flatten()


def announce(inputs: Sequence[Inputs], order: Tensor, shares: Sequence[tuple[int, int]]) -> None:
    """Announce the rows that a loader will request to all inputs that can read ahead.

    Args:
        inputs: Inputs of the loader.
        order: Row indices in the order of the epoch, shape ``(N,)``.
        shares: Begin and end of each requested part of ``order``.
    """
    if readers := [x for x in inputs if isinstance(x, Rows)]:
        coming = torch.cat([order[begin:end] for begin, end in shares]) if shares else order[:0]
        for reader in readers:
            reader.prefetch(coming)


def scan(x: Inputs) -> Iterator[tuple[Tensor, Tensor]]:
    """All rows once, in any order, in chunks of bounded size: (row numbers, rows)."""
    if isinstance(x, Rows):
        yield from x.scan()
    elif len(x):
        count = max(1, PIECE * len(x) // max(x.nbytes, 1))
        yield from zip(torch.arange(len(x)).split(count), x.split(count), strict=True)


def pieces(x: Inputs) -> Iterator[Tensor]:
    """All rows once, in any order, in chunks of bounded size."""
    yield from (part for _, part in scan(x))


def in_order(x: Inputs, size: int) -> Iterator[Tensor]:
    """All rows in order, ``size`` rows at a time."""
    yield from x.batches(size) if isinstance(x, Rows) else x.split(size)


def byte_view(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, on its device: shape ``(nbytes,)``.

    Example:
        >>> byte_view(torch.tensor([1, 256], dtype=torch.int16)).tolist()
        [1, 0, 0, 1]
    """
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8)


def digest_of(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's bytes."""
    return hashlib.sha256(byte_view(tensor).cpu().numpy().data).hexdigest()
