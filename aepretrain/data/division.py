"""Division of a data set without splits of its own: at random, stratified by class."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor

from aepretrain.data.examples import Examples, Source
from aepretrain.errors import ConfigError, DataError

LEAST_STRATIFIED = 3
"""Examples of a class from which on each split gets one."""


def divide(examples: Examples, *, validation: float, test: float, seed: int = 0) -> Source:
    """Divide a data set without predefined splits: at random, stratified by class.

    Args:
        examples: All examples.
        validation: Share for validation, in ``(0, 1)``.
        test: Share for testing, in ``(0, 1)``.
        seed: Chooses the split.

    Raises:
        ConfigError: If the shares leave nothing to train on.
        DataError: If there are too few examples to divide.
    """
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise ConfigError(
            f"validation and test shares must be positive and leave training data, but got {validation} and {test}. "
            "Usual are 0.1 to 0.2 each."
        )
    parts = divide_rows(len(examples), examples.y, validation / (1 - test), test, seed)
    train, held_out, tested = (examples[rows] for rows in parts)
    return Source(train, held_out, tested, content={"inputs": examples.x, "labels": examples.y})


def divide_rows(
    count: int, y: Tensor | None, validation: float | int, test: float | int, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the training, validation and test examples: at random.

    Every class with at least 3 examples has one in every split. Of a class with 2, one is for training and one for
    testing; the only example of a class is for training.

    Args:
        count: Number of examples.
        y: Labels to stratify by; ``None``: no stratification.
        validation: Number of validation examples, or their share of the examples that are not for testing.
        test: Number of test examples, or their share of all examples.
        seed: Chooses the split.

    Raises:
        DataError: If there are too few examples to divide.

    Example:
        >>> [len(rows) for rows in divide_rows(10, None, validation=3, test=0.2)]
        [5, 3, 2]
    """
    labels = None if y is None else y.numpy()
    common = np.arange(count) if labels is None else np.flatnonzero(_counts(labels)[labels] >= LEAST_STRATIFIED)
    try:
        rest, tested = _draw(common, test, labels, seed)
        train, held_out = _draw(rest, validation, labels, seed)
    except ValueError as error:
        raise DataError(f"{count} examples cannot be divided into three splits: {error}") from error
    if labels is not None:
        for part in (held_out, tested):
            _give_every_class(train, part, labels)
        rare = np.setdiff1d(np.arange(count), common)
        first = np.isin(rare, rare[np.unique(labels[rare], return_index=True)[1]])
        train, tested = np.concatenate([train, rare[first]]), np.concatenate([tested, rare[~first]])
    return torch.from_numpy(train), torch.from_numpy(held_out), torch.from_numpy(tested)


def _draw(
    rows: NDArray[np.int64], size: float | int, labels: NDArray[np.int64] | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw ``size`` rows, stratified by their labels: (rest, drawn). A class with a single row keeps it in the rest."""
    if labels is None:
        return tuple(train_test_split(rows, test_size=size, random_state=seed))
    single = _counts(labels[rows])[labels[rows]] < 2
    number = math.ceil(size * len(rows)) if isinstance(size, float) and single.any() else size
    several = rows[~single]
    rest, drawn = train_test_split(several, test_size=number, stratify=labels[several], random_state=seed)
    return np.concatenate([rest, rows[single]]), drawn


def _counts(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(labels)


def _give_every_class(train: NDArray[np.int64], part: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
    """Exchange examples until every class of ``train`` is in ``part``, too; both are changed in place."""
    for label in np.setdiff1d(labels[train], labels[part]):
        largest = _counts(labels[part]).argmax()
        mine, theirs = np.flatnonzero(labels[train] == label)[0], np.flatnonzero(labels[part] == largest)[0]
        train[mine], part[theirs] = part[theirs], train[mine]


def missing_classes(source: Source, names: Sequence[str] | None = None) -> list[str]:
    """One sentence per split in which a class does not occur.

    Args:
        source: The data set, with labels.
        names: Names of the classes; ``None``: their numbers.

    Example:
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
