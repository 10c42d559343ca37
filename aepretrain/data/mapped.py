"""An array in a ``.npy`` file, of any size."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from aepretrain.data.checks import check_classes
from aepretrain.data.file_rows import FileRows, RowFile, identity_of
from aepretrain.data.npy import NpyHeader, read_labels
from aepretrain.data.stored import TYPES, StoredData
from aepretrain.data.transforms import Scale, TransformName, make_transform
from aepretrain.errors import DataError


class MappedArray(StoredData):
    """An array in a ``.npy`` file, divided into fixed splits; it may be larger than memory.

    If twice its size exceeds the memory budget, the array stays in its file, and a thread reads rows ahead during
    training. The batches are bitwise the same.

    Args:
        x: File with the inputs, shape ``(N, ...)``: float32, float16, or uint8.
        y: File with the labels, whole numbers from 0, shape ``(N,)``; ``None`` for data without classes.
        transform: none (but uint8 is divided by 255), standardize (mean 0, standard deviation 1) or minmax (to
            [0, 1]) of every feature, fitted on the training rows alone.
        num_classes: Number of classes; ``None`` is the largest label plus 1.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit. The
            model, its batches and the program itself need memory in addition.

    Raises:
        DataError: If a file is missing, truncated, pickled or of another type, or the two files do not match.
        ConfigError: If the budget is not a size.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = mkdtemp() + "/x.npy"
        >>> np.save(path, np.random.rand(60, 4).astype(np.float32))
        >>> data = MappedArray(path, memory_budget="1kB", validation=10, test=10)
        >>> data.in_shape, len(data.splits().unlabelled), len(data.splits().validation)
        ((4,), 40, 10)
    """

    def __init__(
        self,
        x: str,
        y: str | None = None,
        *,
        transform: TransformName = "none",
        num_classes: int | None = None,
        validation: int | None = None,
        test: int | None = None,
        labels: int | None = None,
        unlabelled: int | None = None,
        split_seed: int = 0,
        memory_budget: str | int | None = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            validation=validation,
            test=test,
            labels=labels,
            unlabelled=unlabelled,
            split_seed=split_seed,
            memory_budget=memory_budget,
        )
        self.x = NpyHeader.read(x)
        self._files = [Path(path).expanduser() for path in (x, y) if path is not None]
        if len(self.x.shape) < 2:
            raise DataError(f"{x}: inputs need the shape (N, ...), but have {self.x.shape}. One row is one example.")
        if not self.x.dtype.isnative or self.x.dtype.name not in TYPES:
            raise DataError(
                f"{x}: inputs must be float32, float16 or uint8, but are {self.x.dtype}. "
                "Save them with np.save(path, array.astype(np.float32))."
            )
        if not math.prod(self.x.shape):
            raise DataError(f"{x}: there are no examples, or they hold no values: its shape is {self.x.shape}.")
        self.in_shape = tuple(self.x.shape[1:])
        self.y = None if y is None else read_labels(y)
        self.num_classes = check_classes(self.y, self.x.shape[0], num_classes, str(y))
        self.y = None if self.y is None else self.y.long()
        is_bytes = self.x.dtype.name == "uint8"
        self.transform = Scale(255) if is_bytes and transform == "none" else make_transform(transform)

    def files(self) -> Sequence[Path]:
        return self._files

    def read(self) -> tuple[FileRows, Tensor | None]:
        header = self.x
        file = RowFile(header.path, self.in_shape, TYPES[header.dtype.name], header.offset)
        numbers = torch.arange(header.shape[0])
        identity = identity_of(header.path)
        return FileRows(file, numbers, identity, transform=self.transform, budget=self.read_ahead), self.y
