"""Rows in memory at half precision."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from aepretrain.data.rows import Rows, digest_of


class HalfRows(Rows):
    """Rows of a float16 or bfloat16 tensor, returned as float32.

    Args:
        tensor: Shape ``(N, ...)``.

    Example:
        >>> HalfRows(torch.ones(3, 2, dtype=torch.float16))[torch.tensor([1])]
        tensor([[1., 1.]])
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.shape = tensor.shape
        self.device = tensor.device

    @property
    def key(self) -> str:
        return digest_of(self.tensor)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        return self.tensor[rows].float()

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.tensor.to(device))

    def subset(self, rows: Tensor) -> "HalfRows":
        return HalfRows(self.tensor[rows])

    def batches(self, size: int) -> Iterator[Tensor]:
        yield from (part.float() for part in self.tensor.split(size))

    def scan(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield from ((part, self[part]) for part in torch.arange(len(self)).split(4096))

    def prefetch(self, rows: Tensor) -> None:
        """Do nothing: all rows are in memory."""
