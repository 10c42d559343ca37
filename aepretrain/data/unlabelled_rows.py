"""Rows without labels that pretraining may see: none of a held-out group, time or split."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aepretrain.data.division import Division
from aepretrain.data.words import count_of


def usable_rows(division: Division, rows: Tensor, held_out: Sequence[Tensor]) -> Tensor:
    """Those of the rows without labels that no held-out example belongs with.

    Args:
        division: How all rows, with labels and without, are divided.
        rows: Numbers of the rows without labels, shape ``(U,)``.
        held_out: Numbers of the validation and of the test examples.

    Returns:
        The rows whose group is not held out, whose time is before that of all held-out examples, and whose given split
        is for training, as far as the division has these.

    Example:
        >>> division = Division.of(6, groups=list("aabbcc"))
        >>> usable_rows(division, torch.tensor([1, 3, 5]), [torch.tensor([2]), torch.tensor([4])])
        tensor([1])
    """
    own, others = rows.numpy(), torch.cat(list(held_out)).numpy()
    keep = np.ones(len(own), bool)
    if division.groups is not None:
        keep &= ~np.isin(division.groups[own], division.groups[others])
    if division.times is not None:
        keep &= division.times[own] < division.times[others].min()
    if division.given is not None:
        keep &= division.given[own] == 0
    return rows[torch.from_numpy(keep)]


def left_out_words(number: int) -> list[str]:
    """A sentence on rows without a label that :func:`usable_rows` left out; empty if there are none.

    Example:
        >>> left_out_words(2)
        ['2 rows without a label left out: they belong with held-out examples.']
    """
    return (
        [f"{count_of(number, 'row')} without a label left out: they belong with held-out examples."] if number else []
    )
