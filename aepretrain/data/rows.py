"""Inputs that are no tensor in memory, but give rows as one does."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

PIECE = 4 << 20
"""Bytes of what is looked at or read at once, as float32, where all rows are taken one piece after another."""


class Rows(ABC):
    """Rows that lie elsewhere, or in another type, and come as float32 tensors when they are asked for.

    Batches use of it what they use of a tensor: its length, ``rows[numbers]`` and its device.
    """

    device: torch.device
    """Where the rows that are asked for arrive."""
    shape: torch.Size
    """``(N, ...)``, as of a tensor."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """What all rows would take in memory, as float32."""
        return self.shape.numel() * torch.float32.itemsize

    @property
    def asked_on(self) -> torch.device:
        """Where the numbers of the rows that are asked for are wanted."""
        return self.device

    @abstractmethod
    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The rows with these numbers, in this order: a tensor of its own, float32."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """The same rows, to arrive on a device."""

    @abstractmethod
    def subset(self, rows: Tensor) -> "Rows":
        """Some of the rows, as a choice of numbers and not as a copy."""

    @abstractmethod
    def scan(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All rows once, a bounded number at a time, in the order that is the fastest: (their names, rows).

        The names say where a row came from, such as its number in a file.
        """

    @abstractmethod
    def batches(self, size: int) -> Iterator[Tensor]:
        """All rows once, in their order, so many at a time."""

    @abstractmethod
    def expect(self, rows: Tensor) -> None:
        """Be told which rows are asked for next, in this order; whoever reads ahead may begin."""


Inputs = Tensor | Rows
"""What a stage may train on."""


def choose(x: Inputs, rows: Tensor) -> Inputs:
    """Some of the rows: of a tensor a copy, else a choice that copies nothing."""
    return x.subset(rows) if isinstance(x, Rows) else x[rows]


def announce(inputs: Sequence[Inputs], order: Tensor, shares: Sequence[tuple[int, int]]) -> None:
    """Tell all that can read ahead what a loader will ask for: the parts of the order from begin to end."""
    if readers := [x for x in inputs if isinstance(x, Rows)]:
        coming = torch.cat([order[begin:end] for begin, end in shares]) if shares else order[:0]
        for reader in readers:
            reader.expect(coming)


def scan(x: Inputs) -> Iterator[tuple[Tensor, Tensor]]:
    """All rows once, in any order, a bounded number at a time: (their names, rows)."""
    if isinstance(x, Rows):
        yield from x.scan()
    elif len(x):
        count = max(1, PIECE * len(x) // max(x.nbytes, 1))
        yield from zip(torch.arange(len(x)).split(count), x.split(count), strict=True)


def pieces(x: Inputs) -> Iterator[Tensor]:
    """All rows once, in any order, a bounded number at a time."""
    yield from (part for _, part in scan(x))


def in_order(x: Inputs, size: int) -> Iterator[Tensor]:
    """All rows in their order, so many at a time."""
    yield from x.batches(size) if isinstance(x, Rows) else x.split(size)


def octets(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, where it lies: shape ``(nbytes,)``.

    Example:
        >>> octets(torch.tensor([1, 256], dtype=torch.int16)).tolist()
        [1, 0, 0, 1]
    """
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8)


def digest_of(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's bytes."""
    return hashlib.sha256(octets(tensor).cpu().numpy().data).hexdigest()
