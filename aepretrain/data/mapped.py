"""An array in a file, of any size: dense in ``.npy``, sparse in ``.npz`` or Matrix Market."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aepretrain.data.budget import available_memory
from aepretrain.data.byte_scale import COUNTS, ScaleName, choose_transform
from aepretrain.data.division import Division, OrderName
from aepretrain.data.file_rows import FileRows, JoinedFiles, RowSource, identity_of
from aepretrain.data.float32 import check_real
from aepretrain.data.named_transforms import TransformName
from aepretrain.data.npy import NpyHeader
from aepretrain.data.origin import Origin
from aepretrain.data.paths import user_path
from aepretrain.data.rows import pieces
from aepretrain.data.sparse_files import SparseFile, is_sparse
from aepretrain.data.stored import TYPES, StoredData
from aepretrain.data.targets import TargetType, read_targets
from aepretrain.data.value_files import read_target_values, read_values
from aepretrain.data.words import count_of
from aepretrain.errors import DataError

ArrayFile = NpyHeader | SparseFile
"""A file of inputs that was opened."""


class MappedArray(StoredData):
    """An array in a file, which may be larger than memory, divided into splits.

    If twice its size as dense float32 exceeds the memory budget, a dense array stays in its file and a sparse one
    compressed in memory, and a thread reads rows ahead during training. The batches are bitwise the same.

    Args:
        x: File with the inputs: a ``.npy`` file of shape ``(N, ...)``, or a sparse matrix ``(N, D)`` in a ``.npz`` file
            of SciPy or a Matrix Market file (``.mtx``, ``.mtx.gz``). Numbers or booleans, which are read as float32.
        y: File with the labels, one per line or element as for ``groups``: whole numbers, strings or booleans; those
            that occur are the classes, in sorted order. Or real numbers. Rows whose label is missing (NaN, empty text,
            or -1 among classes from 0 on) are for pretraining alone, except those of groups, times or splits that are
            held out. ``None``: no labels.
        transform: none, standardize (mean 0, standard deviation 1), minmax (to [0, 1]) or rank_gauss (to a normal
            distribution by quantiles) of every feature, fitted on the training rows alone.
        scale: Whether values are divided by 255: auto (bytes are, if one is 64 or more, and ``transform`` is none),
            none or byte (always).
        more_inputs: A second file of inputs, whose rows are for pretraining alone; leave out those of the groups and
            times that are tested.
        num_classes: Number of classes, where the labels are their numbers; ``None``: all labels that occur.
        target_type: What labels are: class, real (numbers, for regression), or auto: real if one has a fraction, or if
            they are whole numbers of many values with gaps (data/README.md has the rule).
        groups: File with the group of every row, such as its subject or recording, one per line or element
            (``.npy``, ``.csv``, ``.txt`` or ``.parquet`` of one column): a group stays in one split.
        order: How rows are divided: random, or time (training rows first, then validation, then test).
        times: File with the time of every row, numbers or dates, for ``order`` time; ``None``: the rows stand in the
            order of time.
        splits: File with the split of every row: train, validation or test; validation or test examples that no row
            names are taken from the training examples.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit. The
            model, its batches and the program itself need memory in addition.

    Raises:
        DataError: If a file is missing, truncated, pickled or of another type, numbers do not fit float32, the two
            files do not match, or labels are all missing, or neither classes nor numbers.
        ConfigError: If the budget is not a size, ``scale`` and ``transform`` both scale the data, or two settings
            divide them.

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
        x: str | Path,
        y: str | Path | None = None,
        *,
        transform: TransformName = "none",
        scale: ScaleName = "auto",
        more_inputs: str | Path | None = None,
        num_classes: int | None = None,
        target_type: TargetType = "auto",
        groups: str | Path | None = None,
        order: OrderName = "random",
        times: str | Path | None = None,
        splits: str | Path | None = None,
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
        self.x = self._open(x)
        self._files = [user_path(path) for path in (x, y, more_inputs) if path is not None]
        _check_header(self.x, str(x))
        taken = self.x.nbytes if isinstance(self.x, SparseFile) else 0
        self.more = None if more_inputs is None else self._open(more_inputs, taken)
        if self.more is not None:
            _check_more(self.more, self.x, str(more_inputs))
        self.in_shape = tuple(self.x.shape[1:])
        sparse = ", sparse" if isinstance(self.x, SparseFile) else ""
        self.notes.append(f"{x}: {self.x.shape[0]:,} rows of shape {self.in_shape}, {self.x.dtype}{sparse}.")
        if self.more is not None:
            self.notes.append(f"{more_inputs}: {count_of(self.more.shape[0], 'row')} for pretraining alone.")
        self.num_classes = None
        if y is not None:
            targets, of_labels = read_target_values(y, self.own_count), Origin(str(y))
            kind: dict[str, Any] = {"target_type": target_type, "num_classes": num_classes}
            found = read_targets(targets, self.own_count, of_labels, **kind)
            self.set_labels(found)
        largest = self._largest() if self.x.dtype == np.uint8 and (scale, transform) == ("auto", "none") else None
        self.transform, notes, warnings = choose_transform(transform, scale, largest, self.origin)
        self.notes += notes
        self.add_warnings(warnings)

        files, count = {"groups": groups, "times": times, "splits": splits}, self.x.shape[0]
        values: dict[str, Any] = {name: path and read_values(path, count) for name, path in files.items()}
        names = [str(path) for path in files.values()]
        self.set_division(Division.of(count, order=order, names=names, giver=str(splits), **values))

    def files(self) -> Sequence[Path]:
        return self._files

    @property
    def origin(self) -> Origin:
        counts = [(str(each.path), each.shape[0]) for each in (self.x, self.more) if each is not None]
        return Origin(str(self.x.path), counts if self.more is not None else ())

    @property
    def own_count(self) -> int:
        return self.x.shape[0]

    def count(self) -> int:
        return self.own_count + (0 if self.more is None else self.more.shape[0])

    def _open(self, path: str | Path, taken: int = 0) -> ArrayFile:
        """Open a file, where so many bytes of the budget are taken."""
        if is_sparse(path):
            left = available_memory() if self.memory_limit is None else self.memory_limit - taken
            return SparseFile.read(path, left)
        return NpyHeader.read(path)

    def _rows(self) -> FileRows:
        file: RowSource = self.x.rows()
        identity = identity_of(self.x.path)
        if self.more is not None:
            file = JoinedFiles(file, self.own_count, self.more.rows())
            identity = f"{identity} {identity_of(self.more.path)}"
        return FileRows(file, torch.arange(self.count()), identity, budget=self.read_ahead)

    def _largest(self) -> int:
        """The largest of the bytes, or the first piece's that is no count: pictures need not be read to the end."""
        largest = 0
        for part in pieces(self._rows()):
            largest = max(largest, int(part.max()))
            if largest >= COUNTS:
                break
        return largest

    def read(self) -> tuple[FileRows, Tensor | None]:
        self.x.check_fits_float32(self.origin)
        if self.more is not None:
            self.more.check_fits_float32(Origin(str(self.more.path)))
        rows = self._rows()
        rows.transform = self.transform
        return self.examples_of(rows), self.y


def _check_more(more: ArrayFile, x: ArrayFile, path: str) -> None:
    """Raise a DataError unless a second file holds rows like those of the first."""
    _check_header(more, path)
    if more.shape[1:] != x.shape[1:]:
        raise DataError(
            f"{path}: rows must have the shape {tuple(x.shape[1:])} of those in {x.path}, but have "
            f"{tuple(more.shape[1:])}. Name another file by data.more_inputs."
        )
    if (more.dtype == np.uint8) != (x.dtype == np.uint8):
        raise DataError(
            f"{path}: values must be of one scale with {x.path}, but are {more.dtype}, and those {x.dtype}. Save both "
            "as bytes, or both as floats."
        )


def _check_header(header: ArrayFile, path: str) -> None:
    """Raise a DataError unless the file holds inputs of a supported type."""
    if len(header.shape) < 2:
        raise DataError(f"{path}: inputs need the shape (N, ...), but have {header.shape}. One row is one example.")
    check_real(header.dtype, Origin(path))
    if not header.dtype.isnative or header.dtype.name not in TYPES:
        raise DataError(
            f"{path}: inputs must be floats of 16 to 64 bits, whole numbers or booleans in the byte order of this "
            f"machine, but are {header.dtype}. Save them with np.save(path, array.astype(np.float32))."
        )
    if not math.prod(header.shape):
        raise DataError(f"{path}: there are no examples, or they hold no values: its shape is {header.shape}.")
