"""Comparison of an exported network with the encoder that it was made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BATCHES = (1, 2, 7)
"""Batch sizes that are compared besides all rows at once: a network may have been traced for one of them alone."""
PARTS = 8
"""Number of batches of each of these sizes."""


@dataclass(frozen=True)
class Parity:
    """How far the outputs of two networks lie apart.

    Args:
        largest: Largest difference of a value; infinite or NaN if only one of two values is finite.
        scale: Largest finite value of the outputs, at least 1.
        rows: Number of rows.
        batches: Batch sizes.
    """

    largest: float
    scale: float
    rows: int
    batches: Sequence[int]

    @property
    def is_bitwise(self) -> bool:
        """Whether all values are equal."""
        return self.largest == 0

    def within(self, tolerance: float) -> bool:
        """Whether no value differs by more than the tolerance times :attr:`scale`."""
        return self.largest <= tolerance * self.scale

    def __str__(self) -> str:
        sizes = ", ".join(map(str, self.batches[:-1]))
        found = "bitwise equal" if self.is_bitwise else f"largest difference {self.largest:.1e}"
        return f"{found} on {self.rows:,} rows, in batches of {sizes} and {self.batches[-1]}"


@torch.no_grad()
def compare_outputs(network: nn.Module, exported: Callable[[Tensor], Tensor], rows: Tensor) -> Parity:
    """Compare two networks on the same rows, in batches of several sizes, of one row too.

    Args:
        network: The reference.
        exported: The network that is compared with it.
        rows: Inputs of both, shape ``(N, ...)``, at least one.

    Example:
        >>> str(compare_outputs(nn.ReLU(), lambda x: x.clamp(min=0), torch.randn(20, 3)))
        'bitwise equal on 20 rows, in batches of 1, 2, 7 and 20'
        >>> compare_outputs(nn.ReLU(), torch.neg, torch.ones(20, 3)).largest
        2.0
    """
    sizes = sorted({min(size, len(rows)) for size in (*BATCHES, len(rows))})
    largest, scale = 0.0, 1.0
    for size in sizes:
        for part in rows[: PARTS * size].split(size):
            ours, theirs = network(part).double(), exported(part).double()
            if ours.shape != theirs.shape:
                raise ValueError(f"{tuple(part.shape)} leads to {tuple(theirs.shape)}, not to {tuple(ours.shape)}.")
            apart = (ours - theirs).abs().where(ours != theirs, 0.0)  # the difference of two infinities is NaN
            apart = apart.where(~(ours.isnan() & theirs.isnan()), 0.0)
            largest = max(largest, apart.max().item()) if not apart.isnan().any() else float("nan")
            scale = max(scale, ours.abs().where(ours.isfinite(), 0.0).max().item())
            if largest != largest:
                return Parity(largest, scale, len(rows), sizes)
    return Parity(largest, scale, len(rows), sizes)
