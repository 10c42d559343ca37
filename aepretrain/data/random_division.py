"""Division of rows at random, stratified by class."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor

from aepretrain.errors import DataError

LEAST_STRATIFIED = 3
"""Examples of a class from which on each split gets one."""


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
        rest, tested = draw(common, test, labels, seed)
        train, held_out = draw(rest, validation, labels, seed)
    except ValueError as error:
        rule = "each needs at least one. Give more rows."
        if labels is not None:
            rule = (
                f"validation and test data need one of each of {len(np.unique(labels[common]))} classes, and as many "
                "must remain to train on. Give more rows, or raise data.validation and data.test."
            )
        raise DataError(f"{count} examples cannot be divided into three splits: {rule}") from error
    if labels is not None:
        for part in (held_out, tested):
            _give_every_class(train, part, labels)
        rare = np.setdiff1d(np.arange(count), common)
        first = np.isin(rare, rare[np.unique(labels[rare], return_index=True)[1]])
        train, tested = np.concatenate([train, rare[first]]), np.concatenate([tested, rare[~first]])
    return torch.from_numpy(train), torch.from_numpy(held_out), torch.from_numpy(tested)


def draw(
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
