"""Rows of an estimator: checked by scikit-learn, as float32 tensors, with those held out that choose an epoch."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data
from torch import Tensor

from aepretrain.data.arrays import densify
from aepretrain.data.base import DataModule
from aepretrain.data.examples import Examples, Source
from aepretrain.data.float32 import check_digits, sampled_rows, to_float32
from aepretrain.data.frames import StoredFrame, is_frame
from aepretrain.data.new_rows import open_new_rows
from aepretrain.data.origin import Origin, listed
from aepretrain.data.random_division import draw
from aepretrain.data.table_transform import TableTransform
from aepretrain.errors import ConfigError, DataError

ORIGIN = Origin("X")
MONITORED = 1000
"""Training rows that stand in for held-out ones where none are held out: they are measured, and choose nothing."""


class DividedRows(DataModule):
    """Training and held-out examples that an estimator was given, scaled already.

    Args:
        train: Training examples.
        held_out: Examples that choose the epoch; ``None``: none, and the first training examples are measured.

    Example:
        >>> rows = DividedRows(Examples(torch.rand(6, 4)))
        >>> rows.in_shape, len(rows.splits().validation)
        ((4,), 6)
    """

    def __init__(self, train: Examples, held_out: Examples | None = None) -> None:
        super().__init__()
        self.in_shape = tuple(train.x.shape[1:])
        self.num_classes = None
        self.train = train
        self.held_out = train[torch.arange(min(len(train), MONITORED))] if held_out is None else held_out

    def load(self) -> Source:
        return Source(self.train, self.held_out, self.held_out)


def checked(estimator: BaseEstimator, X: Any, *, fits: bool = False) -> Tensor:
    """Check rows as scikit-learn does, and return them as float32, shape ``(N, D)``.

    Args:
        estimator: Keeps or compares the number of features and their names.
        X: An array, a sparse matrix, which becomes dense, or a frame of numbers.
        fits: Whether the estimator is being fitted.

    Raises:
        ValueError: If the rows are no finite real numbers, do not fit float32, or have other columns than in ``fit``.
    """
    x = validate_data(estimator, X, reset=fits, accept_sparse="csr")
    if issparse(x):
        return densify(x, ORIGIN)
    if fits:
        check_digits(x[sampled_rows(len(x))], ORIGIN)
    return torch.from_numpy(np.require(to_float32(x, ORIGIN), requirements=["C", "W"]))


def table_rows(X: Any, transform: TableTransform) -> Tensor:
    """The rows of a frame as the encoder of a table takes them: one number per column, shape ``(N, columns)``.

    Args:
        X: A frame with the columns of the table by name, in any order.
        transform: Describes the columns.

    Raises:
        DataError: If it is no frame, or lacks a column.
    """
    names = [column.name for column in transform.columns]
    found = getattr(X, "column_names", getattr(X, "columns", names))
    missing = [name for name in names if name not in list(found)]
    if not is_frame(X) or missing:
        reason = f"lacks {listed(missing)}" if missing else f"is of type {type(X).__name__}"
        raise DataError(
            f"X must be a frame with the columns of the run, {listed(names)}, but {reason}. Give a frame of pandas, "
            "polars or pyarrow."
        )
    stored = StoredFrame(X)
    settings = {"cache": str(stored.path.parent)}
    return open_new_rows(stored.path, (len(names),), columns=None, settings=settings, transform=transform).x[:]


def hold_out(
    count: int, share: float, patience: int | None, seed: int, labels: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the training rows and of the held-out rows; none are held out without patience.

    Args:
        count: Number of rows.
        share: Share of the rows that are held out, in ``(0, 1)``, rounded up.
        patience: As for the estimators.
        seed: Chooses the rows.
        labels: Numbers of the classes, in equal shares of which rows are held out; a class with one row keeps it.

    Raises:
        ConfigError: If the share is out of range.
        DataError: If there are too few rows.

    Example:
        >>> [len(rows) for rows in hold_out(20, 0.1, patience=5, seed=0)]
        [18, 2]
    """
    rows = np.arange(count)
    if patience is None:
        return rows, rows[:0]
    if not 0 < share < 1:
        raise ConfigError(f"validation_fraction must lie in (0, 1), but got {share}. A usual value is 0.1.")
    number = math.ceil(share * count)
    try:
        train, held_out = draw(rows, number, labels, seed)
    except ValueError as error:
        raise DataError(
            f"patience needs held-out rows, but {number} of {count} cannot be held out: {error} Raise "
            "validation_fraction, or leave patience out."
        ) from error
    return np.sort(train), np.sort(held_out)


def seed_of(random_state: Any) -> int:
    """The seed of a run: ``random_state`` if that is a number, else one drawn from it.

    Example:
        >>> seed_of(3), seed_of(np.random.RandomState(0)) == seed_of(np.random.RandomState(0))
        (3, True)
    """
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def plain(value: Any) -> Any:
    """NumPy's whole numbers, as a search draws them, as those of Python; a sequence as a list of these.

    Example:
        >>> plain(np.int64(3)), plain(np.array([2, 4])), plain(0.5)
        (3, [2, 4], 0.5)
    """
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        return [plain(each) for each in value]
    return int(value) if isinstance(value, np.integer) else value


def examples(x: Tensor, rows: NDArray[np.int64], y: Tensor | None = None) -> Examples | None:
    """The examples with these numbers, in ascending order; ``None`` if there are none."""
    if len(rows) in (0, len(x)):
        return Examples(x, y) if len(rows) else None
    return Examples(x, y)[torch.from_numpy(rows)]
