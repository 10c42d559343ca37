"""Features from which the answer can be read."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aepretrain.data.origin import Origin, listed
from aepretrain.data.rows import Inputs, scan

MOST = 1 << 20
"""Values of one example per class that are kept at most; data with more are not searched for copies of the labels."""
FEW = 64
"""Rows of each piece that are looked at first."""


def find_leaks(x: Inputs, y: Tensor | None, origin: Origin) -> list[str]:
    """Warnings on features that equal the labels, one to one, and on features that count the rows.

    Reading stops as soon as no feature is left, which is usual after the first piece.

    Args:
        x: All inputs, shape ``(N, ...)``, in the order of the user's rows.
        y: Their labels, shape ``(N,)``, or ``None``.
        origin: Names the columns.

    Example:
        >>> y = torch.tensor([0, 1, 1, 0])
        >>> x = torch.stack([torch.rand(4), 5.0 - y], dim=1)
        >>> find_leaks(x, y, Origin("Arrays", columns=["a", "b"]))[0].partition(".")[0]
        'Arrays: column b tells the label of every row, one to one'
    """
    if len(x) < 3:
        return []
    copies, counters = _Copies(x, y), _Counters(x)
    for numbers, part in scan(x):
        part = part.detach().flatten(1)
        for few in (slice(0, FEW), slice(FEW, None)):  # few rows exclude most features, so that the rest takes little
            copies.see(numbers[few], part[few])
            counters.see(numbers[few], part[few])
        if not len(copies.columns) and not len(counters.columns):
            break
    found = []
    if len(copies.columns):
        names, one = _names(copies.columns, origin, x.shape[1:])
        found.append(
            f"{origin.name}: {names} {'tells' if one else 'tell'} the label of every row, one to one. Leave "
            f"{'it' if one else 'them'} out, unless {'it is' if one else 'they are'} known where there are no labels."
        )
    if len(counters.columns):
        names, one = _names(counters.columns, origin, x.shape[1:])
        found.append(
            f"{origin.name}: {names} only {'counts' if one else 'count'} the rows, which tells the label where rows "
            f"are sorted. Leave {'it' if one else 'them'} out."
        )
    return found


def _names(columns: Tensor, origin: Origin, shape: Sequence[int]) -> tuple[str, bool]:
    return listed([origin.column(number, shape) for number in columns.tolist()]), len(columns) == 1


class _Copies:
    """Features that have one value in each class, another one in every class."""

    def __init__(self, x: Inputs, y: Tensor | None) -> None:
        self.y = y
        classes, width = 0 if y is None else int(y.max()) + 1, x.shape[1:].numel()
        self.columns = torch.arange(width if y is not None and classes * width <= MOST else 0)
        self.values = torch.full((classes, len(self.columns)), torch.nan)
        """The value of each remaining feature in each class."""
        self.known = torch.zeros(classes, dtype=torch.bool)

    def see(self, numbers: Tensor, part: Tensor) -> None:
        if not len(self.columns) or not len(part):
            return
        assert self.y is not None
        y, part = self.y[numbers], part[:, self.columns]
        example = torch.full((len(self.known),), -1)
        example[y] = torch.arange(len(y))  # any row of each class
        new = ~self.known & (example >= 0)
        self.values[new] = part[example[new]]
        self.known |= new
        values = self.values[self.known].sort(dim=0).values
        keep = (part == self.values[y]).all(dim=0) & (values[1:] != values[:-1]).all(dim=0)
        self.columns, self.values = self.columns[keep], self.values[:, keep]


class _Counters:
    """Features that grow by 1 from row to row."""

    def __init__(self, x: Inputs) -> None:
        self.columns = torch.arange(x.shape[1:].numel())
        self.start: Tensor | None = None

    def see(self, numbers: Tensor, part: Tensor) -> None:
        if not len(self.columns) or not len(part):
            return
        start = part[:, self.columns].double() - numbers[:, None]
        self.start = start[0] if self.start is None else self.start
        keep = (start == self.start).all(dim=0)
        self.columns, self.start = self.columns[keep], self.start[keep]
