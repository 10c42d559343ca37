"""Arrays and tensors in memory, for use from Python."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aepretrain.data.base import DataModule
from aepretrain.data.checks import check_classes, check_inputs
from aepretrain.data.division import divide
from aepretrain.data.examples import Examples, Source
from aepretrain.data.transforms import TransformName, make_transform
from aepretrain.errors import DataError


class Arrays(DataModule):
    """Arrays or tensors in memory, divided into fixed splits that are stratified by class.

    Args:
        x: Inputs, shape ``(N, ...)``: a NumPy array or a tensor of real numbers.
        y: Labels, whole numbers from 0, shape ``(N,)``; ``None`` for data without classes.
        num_classes: Number of classes; ``None`` is the largest label plus 1.
        transform: none, standardize (mean 0, standard deviation 1) or minmax (to [0, 1]) of every feature, fitted on
            the training rows alone.
        more_inputs: Inputs without labels, shape ``(U, ...)``, for pretraining alone.
        validation: Share of the examples for validation.
        test: Share of the examples for testing.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.

    Raises:
        DataError: If the arrays are empty, do not belong together, are not finite, or hold labels out of range.

    Example:
        >>> data = Arrays(np.random.rand(60, 4), np.arange(60) % 3)
        >>> data.in_shape, data.num_classes, len(data.splits().train)
        ((4,), 3, 36)
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        num_classes: int | None = None,
        transform: TransformName = "none",
        more_inputs: Any = None,
        validation: float = 0.2,
        test: float = 0.2,
        labels: int | None = None,
        unlabelled: int | None = None,
        split_seed: int = 0,
    ) -> None:
        super().__init__(labels=labels, unlabelled=unlabelled, split_seed=split_seed)
        self.x = _inputs(x)
        self.y = None if y is None else _tensor(y, "labels")
        self.more_inputs = None if more_inputs is None else _inputs(more_inputs)
        self.validation = validation
        self.test = test
        self.in_shape = tuple(self.x.shape[1:])
        self.transform = make_transform(transform)
        check_inputs(self.x, self.in_shape, "Arrays")
        self.num_classes = check_classes(self.y, len(self.x), num_classes, "Arrays")
        self.y = None if self.y is None else self.y.long()

    def load(self) -> Source:
        source = divide(Examples(self.x, self.y), validation=self.validation, test=self.test, seed=self.split_seed)
        if not self.transform.is_fitted:
            self.transform.fit(source.train.x)
        splits = (source.train, source.validation, source.test)
        train, validation, test = (Examples(self.transform(split.x), split.y) for split in splits)
        more_inputs = None if self.more_inputs is None else self.transform(self.more_inputs)
        content = {"inputs": self.x, "labels": self.y, "inputs without labels": self.more_inputs}
        return Source(train, validation, test, more_inputs, content=content)


def _tensor(values: Any, name: str) -> Tensor:
    try:
        return values.detach().cpu() if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))
    except (TypeError, ValueError) as error:
        raise DataError(f"Arrays: {name} must be numbers in an array or a tensor: {error}") from error


def _inputs(values: Any) -> Tensor:
    x = _tensor(values, "inputs")
    if x.ndim < 2:
        raise DataError(f"Arrays: inputs need the shape (N, ...), but have {tuple(x.shape)}. One row is one example.")
    return x.float()
