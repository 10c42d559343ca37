"""What looks wrong with data that can be trained on: unequal scales, classes that a split lacks, rows in two splits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aepretrain.data.examples import Source
from aepretrain.data.origin import Origin
from aepretrain.data.rows import Inputs, pieces
from aepretrain.parts.moments import Moments

LARGE = 30.0
"""A feature is far from unit scale if its root mean square exceeds this."""
SMALL = 0.01
"""Features hardly vary if no standard deviation reaches this."""
STANDARDIZE = "Set data.transform standardize, which is fitted on the training rows and kept with the encoder."
MOST_BYTES = 2**30
"""Rows are compared across splits if all inputs take at most so many bytes."""
HASHED_BYTES = 2**18
"""Bytes of products that are made at once for hashes: larger blocks fragment the memory that a budget bounds."""
NAMED = 3


def inspect(source: Source, columns: Sequence[str] | None = None) -> list[str]:
    """One sentence for each thing that looks wrong, with the way out.

    Args:
        source: The data set, as a network sees it.
        columns: Names of the features; ``None``: their numbers.
    """
    return [*unscaled_features(source.train.x, columns), *shared_rows(source)]


def unscaled_features(x: Inputs, columns: Sequence[str] | None = None) -> list[str]:
    """Name the features whose values are far from unit scale: they dominate the loss, and saturate the units.

    Args:
        x: Training inputs, shape ``(N, ...)``.
        columns: Names of the features; ``None``: their numbers.

    Example:
        >>> unscaled_features(torch.tensor([[0.0, 32700.0], [1.0, 32800.0]]), ["ratio", "counter"])
        ["1 of 2 features is far from unit scale: 'counter' (mean 3.28e+04, deviation 50). Set data.transform \
standardize, which is fitted on the training rows and kept with the encoder."]
    """
    moments = None
    for part in pieces(x):
        own = Moments.of(part.flatten(1))
        moments = own if moments is None else moments.combine(own)
    if moments is None:
        return []
    size = (moments.mean.square() + moments.variance).sqrt()
    widest = moments.variance.max().sqrt().item()
    if 0 < widest < SMALL:
        return [f"no feature varies by more than {widest:.2g} (standard deviation). {STANDARDIZE}"]
    large = (size > LARGE).nonzero().flatten()
    if not len(large):
        return []
    named = ", ".join(
        f"{_name(int(feature), columns, x.shape[1:])} (mean {moments.mean[feature]:.3g}, "
        f"deviation {moments.variance[feature].sqrt():.3g})"
        for feature in large[size[large].argsort(descending=True)][:NAMED]
    )
    more, verb = ", …" if len(large) > NAMED else "", "is" if len(large) == 1 else "are"
    return [f"{len(large)} of {len(size)} features {verb} far from unit scale: {named}{more}. {STANDARDIZE}"]


def _name(feature: int, columns: Sequence[str] | None, shape: Sequence[int]) -> str:
    if columns is not None and feature < len(columns):
        return repr(columns[feature])
    return Origin("").column(feature, shape) if len(shape) > 1 else f"number {feature}"


def missing_classes(source: Source, names: Sequence[str] | None = None) -> list[str]:
    """One sentence per split in which a class does not occur.

    Args:
        source: The data set, with labels.
        names: Names of the classes; ``None``: their numbers.

    Example:
        >>> from aepretrain.data.examples import Examples
        >>> train = Examples(torch.zeros(3, 1), torch.tensor([0, 1, 2]))
        >>> rest = Examples(torch.zeros(2, 1), torch.tensor([0, 1]))
        >>> missing_classes(Source(train, rest, train), ["cat", "dog", "cow"])
        ["validation split: no example of 'cow'. Give more examples, or merge rare classes."]
    """
    splits = {"training": source.train, "validation": source.validation, "test": source.test}
    labels = {split: set(examples.y.unique().tolist()) for split, examples in splits.items() if examples.y is not None}
    found, occurring = [], set().union(*labels.values())
    for split, own in labels.items():
        if missing := sorted(occurring - own):
            listed = ", ".join(repr(names[each] if names else each) for each in missing[:10])
            more = f" and {len(missing) - 10} other classes" if len(missing) > 10 else ""
            found.append(f"{split} split: no example of {listed}{more}. Give more examples, or merge rare classes.")
    return found


def shared_rows(source: Source) -> list[str]:
    """Count the held-out examples that are also in the training data, byte for byte.

    Rows are compared by a 64-bit hash; a chance agreement among a million rows has a probability below 1e-7.

    Args:
        source: The data set.

    Example:
        >>> from aepretrain.data.examples import Examples
        >>> rows = torch.arange(12.0).reshape(6, 2)
        >>> shared_rows(Source(Examples(rows[:4]), Examples(rows[3:5]), Examples(rows[5:])))
        ['1 of 2 validation examples is in the training data too, byte for byte, so figures on them say too much. \
Remove duplicates, or keep rows that belong together in one split by data.groups.']
    """
    train = source.train.x
    held_out = {"validation": source.validation.x, "test": source.test.x}
    inputs = [train, *held_out.values(), *([] if source.unlabelled is None else [source.unlabelled])]
    if sum(x.nbytes for x in inputs) > MOST_BYTES:
        return []
    known = _hashes(train)
    if source.unlabelled is not None:
        known = torch.cat([known, _hashes(source.unlabelled)])
    found = []
    for split, x in held_out.items():
        if x is train:
            continue
        if count := int(torch.isin(_hashes(x), known).sum()):
            found.append(
                f"{count} of {len(x)} {split} examples {'is' if count == 1 else 'are'} in the training data too, byte "
                "for byte, so figures on them say too much. Remove duplicates, or keep rows that belong together in "
                "one split by data.groups."
            )
    return found


def _hashes(x: Inputs) -> Tensor:
    """A 64-bit hash of the bytes of every row, in any order: shape ``(N,)``."""
    width = torch.Size(x.shape[1:]).numel()
    weights = torch.randint(-(2**62), 2**62, (width,), generator=torch.Generator().manual_seed(0)) | 1
    hashes, done = torch.empty(len(x), dtype=torch.int64), 0
    for part in pieces(x):
        for rows in part.flatten(1).split(max(1, HASHED_BYTES // (8 * width))):
            bits = rows.contiguous().view(torch.int32)
            hashes[done : done + len(rows)] = (bits * weights).sum(dim=1)
            done += len(rows)
    return hashes
