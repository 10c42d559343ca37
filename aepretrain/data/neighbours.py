"""Rows that are much like the next row in their file, as overlapping windows are."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from aepretrain.data.rows import Inputs

PAIRS = 500
"""Number of rows that are compared with the next row, at most."""
CLASSES = 10
"""Number of classes from which they are taken, at most."""
OTHERS = 20
"""Number of random rows of the same class that the next row is compared with."""
FEATURES = 256
"""Number of features that are compared, evenly spaced; of wider rows the others are left out."""
WINDOWS = 16
"""Number of rows that are searched for values of the next row."""
WIDE = 1 << 21
"""Number of values in these rows, at most."""
VALUES = 4
"""Different values that rows must share to count as overlapping: patterns of 0 and 1 do not."""
LEAST = 40
"""Number of rows below which nothing is said."""
ALIKE = 0.5
"""Share of the sampled rows from which on something is said of them."""
READ = 1 << 18
"""Bytes of rows that are read at once."""


def alike_neighbours(x: Inputs, y: Tensor | None) -> list[str]:
    """A warning if rows are windows that overlap, or are much more like the next row than like others of their class.

    Args:
        x: All inputs, shape ``(N, ...)``, in the order of the user's rows.
        y: Their labels, shape ``(N,)``, or ``None``.

    Example:
        >>> series = torch.randn(500, generator=torch.Generator().manual_seed(0))
        >>> alike_neighbours(series.unfold(0, 20, 5), None)[0].partition(":")[0]
        'rows are overlapping windows'
        >>> walk = series.reshape(-1, 2).cumsum(dim=0)
        >>> alike_neighbours(walk, None)[0].partition(":")[0]
        'rows next to one another are alike'
        >>> alike_neighbours(walk[torch.randperm(250, generator=torch.Generator().manual_seed(0))], None)
        []
    """
    generator = torch.Generator().manual_seed(0)
    windows = _overlap(x, generator)
    if found := windows.words if windows else _likeness(x, y, generator):
        return [
            f"{found}, and a random division puts such rows into different splits, so that figures on held-out "
            "examples say too much. If rows are windows, series or repeated measurements, set data.order time or "
            "data.groups."
        ]
    return []


def overlap_at_borders(x: Inputs) -> list[str]:
    """A warning if rows are windows that overlap, and are divided by time: they do so at the borders, too.

    Args:
        x: All inputs, shape ``(N, ...)``, in the order of the user's rows.

    Example:
        >>> series = torch.randn(500, generator=torch.Generator().manual_seed(0))
        >>> overlap_at_borders(series.unfold(0, 20, 5))[0].partition(";")[2]
        ' at the borders of data.order time, the last 3 rows of a split share values with the next split. Set \
data.groups to the recordings, or leave rows out there.'
        >>> overlap_at_borders(series.unfold(0, 20, 20))
        []
    """
    windows = _overlap(x, torch.Generator().manual_seed(0))
    if windows is None:
        return []
    count = math.ceil(windows.width / windows.shift) - 1
    last = "last row of a split shares" if count == 1 else f"last {count} rows of a split share"
    return [
        f"{windows.words}; at the borders of data.order time, the {last} values with the next split. Set data.groups "
        "to the recordings, or leave rows out there."
    ]


class _Windows(NamedTuple):
    """Windows that overlap: words on them, the shift from one row to the next, and their width."""

    words: str
    shift: int
    width: int


def _overlap(x: Inputs, generator: torch.Generator) -> _Windows | None:
    """Windows that overlap: the next row holds the same values, shifted along an axis."""
    most = min(WINDOWS, WIDE // x.shape[1:].numel())
    if len(x.shape) > 3 or len(x) < LEAST or not most:
        return None
    rows = torch.randperm(len(x) - 1, generator=generator)[:most].sort().values
    own, following = x[rows], x[rows + 1]
    for axis in range(1, len(x.shape)):
        width = x.shape[axis]
        for shift in _shifts(_last(own, axis), _last(following, axis)):
            shared = own.narrow(axis, shift, width - shift)
            same = (shared == following.narrow(axis, 0, width - shift)).flatten(1).all(dim=1)
            count = sum(len(row.unique()) >= VALUES for row in shared[same])
            if count >= ALIKE * len(rows):
                words = (
                    f"rows are overlapping windows: {count} of {len(rows)} sampled rows hold {width - shift} of the "
                    f"{width} values of the row after them"
                )
                return _Windows(words, shift, width)
    return None


def _last(rows: Tensor, axis: int) -> Tensor:
    """Rows with this axis last, and the others as one: shape ``(n, K, width)``."""
    return rows.movedim(axis, -1).reshape(len(rows), -1, rows.shape[axis])


def _shifts(own: Tensor, following: Tensor) -> list[int]:
    """Shifts that may be right, told by one value of each row: the first that differs from those before it.

    Args:
        own: Rows, shape ``(n, K, width)`` with the shifted axis last.
        following: The rows after them.
    """
    width, matches = own.shape[-1], torch.zeros(own.shape[-1])
    for row, after in zip(own, following, strict=True):
        differs = after != after[0, 0]
        if not differs.any():
            continue
        first = int(differs.any(dim=0).int().argmax())
        place = int(differs[:, first].int().argmax())
        matches[: width - first] += row[place, first:] == after[place, first]
    right = (matches >= ALIKE * len(own)).nonzero().flatten().tolist()
    return [shift for shift in right if 1 <= shift <= width - VALUES]


def _likeness(x: Inputs, y: Tensor | None, generator: torch.Generator) -> str | None:
    """Words on rows that are nearer to the next row than to all of 20 random rows of their class.

    Rows are compared within a class, so that data sorted by class are not named. Features are brought to one scale. In
    shuffled data, the next row is the nearest of these 21 for 1 row of 21.
    """
    labels = torch.zeros(len(x), dtype=torch.long) if y is None else y
    rows = _sample(labels, generator)
    if len(rows) < LEAST:
        return None
    values = _read(x, torch.stack([rows, rows + 1], dim=1).flatten()).unflatten(0, (len(rows), 2))
    scale = values.flatten(0, 1).std(dim=0)
    own, following = (values[..., scale > 0] / scale[scale > 0]).unbind(dim=1)
    far = (rows[:, None] - rows).abs() > min(50, len(x) // 10)
    usable = far & (labels[rows][:, None] == labels[rows])
    enough = usable.sum(dim=1) >= OTHERS
    if enough.sum() < LEAST:
        return None
    chosen = (torch.rand(usable.shape, generator=generator) * usable)[enough].topk(OTHERS, dim=1).indices
    to_next = (own - following)[enough].norm(dim=1)
    to_others = (own[enough][:, None] - own[chosen]).norm(dim=2).min(dim=1).values
    share = (to_next < to_others).double().mean().item()
    if share < ALIKE:
        return None
    return (
        f"rows next to one another are alike: {share:.0%} of {int(enough.sum())} sampled rows are nearer to the next "
        f"row than to {OTHERS} random rows{'' if y is None else ' of their class'} ({1 / (OTHERS + 1):.0%} by chance)"
    )


def _sample(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Rows, in order, whose next row is of the same class; as many of each of some classes."""
    rows = (labels[1:] == labels[:-1]).nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=generator)]
    classes = labels[rows].unique()
    classes = classes[torch.randperm(len(classes), generator=generator)[:CLASSES]]
    parts = [rows[labels[rows] == label][: PAIRS // len(classes)] for label in classes]
    return torch.cat(parts).sort().values if parts else rows


def _read(x: Inputs, rows: Tensor) -> Tensor:
    """Some features of these rows, shape ``(n, at most FEATURES)``."""
    width = x.shape[1:].numel()
    features = torch.linspace(0, width - 1, min(width, FEATURES)).round().long()
    step = max(1, READ // (4 * width))
    return torch.cat([x[part].flatten(1)[:, features].float() for part in rows.split(step)])
