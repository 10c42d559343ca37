"""Arrays and tensors in memory, for use from Python."""

from dataclasses import replace
from decimal import Decimal
from functools import reduce
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.base import DataModule
from aepretrain.data.budget import check_held_out, format_bytes
from aepretrain.data.byte_scale import COUNTS, ScaleName, choose_transform
from aepretrain.data.checks import check_inputs
from aepretrain.data.division import Division, OrderName
from aepretrain.data.examples import Examples, Source
from aepretrain.data.file_rows import FileRows, RowFile, by_row, in_memory, join, scaled
from aepretrain.data.float32 import check_digits, check_real, numpy_type, sampled_rows, to_float32
from aepretrain.data.leaks import find_leaks
from aepretrain.data.named_transforms import TransformName
from aepretrain.data.origin import Origin
from aepretrain.data.row_values import is_missing
from aepretrain.data.rows import Inputs, choose, complement, pieces
from aepretrain.data.sparse import densify
from aepretrain.data.targets import TargetType, read_targets
from aepretrain.data.unlabelled_rows import left_out_words, usable_rows
from aepretrain.errors import DataError

NUMBERS = (Real, Decimal, np.bool_, type(None))
"""Python's numbers; None is a missing one."""
MORE = Origin("Arrays, more_inputs")


class Arrays(DataModule):
    """Arrays or tensors in memory, divided into splits.

    They are divided at random and stratified by class, by groups, by time, or as given.

    Args:
        x: Inputs, shape ``(N, ...)``: a NumPy array, a tensor, a sparse matrix or a table of real numbers.
        y: Labels, shape ``(N,)``: whole numbers, strings or booleans; those that occur are the classes, in sorted
            order. Or real numbers. Rows whose label is missing (NaN, None, or -1 among classes from 0 on) are for
            pretraining alone, except those of groups, times or splits that are held out. ``None``: no labels.
        num_classes: Number of classes, where the labels are their numbers; ``None``: all labels that occur.
        target_type: What labels are: class, real (numbers, for regression), or auto: real if one has a fraction, or if
            they are whole numbers of many values with gaps (data/README.md has the rule).
        transform: none, standardize (mean 0, standard deviation 1), minmax (to [0, 1]) or rank_gauss (to a normal
            distribution by quantiles) of every feature, fitted on the training rows alone.
        scale: Whether values are divided by 255: auto (bytes are, if one is 64 or more, and ``transform`` is none),
            none or byte (always).
        more_inputs: Inputs without labels, shape ``(U, ...)``, for pretraining alone; they are not divided, so leave
            out those of the groups and times that are tested.
        groups: Group of every row, such as its subject or recording, shape ``(N,)``: a group stays in one split.
        order: How rows are divided: random, or time (training rows first, then validation, then test).
        times: Time of every row, shape ``(N,)``: numbers or dates, for ``order`` time; ``None``: the rows stand in the
            order of time.
        splits: Split of every row, shape ``(N,)``: train, validation or test; validation or test examples that no row
            names are taken from the training examples.
        validation: Share of the examples for validation; ``None`` is a fifth.
        test: Share of the examples for testing; ``None`` is a fifth.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.

    Raises:
        DataError: If the arrays are empty, do not belong together, are not finite, do not fit float32, or hold labels
            that are all missing, or neither classes nor numbers.
        ConfigError: If ``scale`` and ``transform`` both scale the data, or two settings divide them.

    Example:
        >>> data = Arrays(np.random.rand(60, 4), np.arange(60) % 3)
        >>> data.in_shape, data.num_classes, len(data.splits().train)
        ((4,), 3, 36)
        >>> Arrays(np.random.rand(60, 4), ["cat", "dog", "cow"] * 20).class_names
        ['cat', 'cow', 'dog']
    """

    origin = Origin("Arrays")
    """Names rows in messages."""

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        num_classes: int | None = None,
        target_type: TargetType = "auto",
        transform: TransformName = "none",
        scale: ScaleName = "auto",
        more_inputs: Any = None,
        groups: Any = None,
        order: OrderName = "random",
        times: Any = None,
        splits: Any = None,
        validation: float | None = None,
        test: float | None = None,
        labels: int | None = None,
        unlabelled: int | None = None,
        split_seed: int = 0,
    ) -> None:
        super().__init__(labels=labels, unlabelled=unlabelled, split_seed=split_seed)
        self.x: Inputs
        self.x, is_bytes = self.to_inputs(x, self.origin)
        self.more_inputs: Inputs | None = None
        self.validation = validation
        self.test = test
        self.in_shape = tuple(self.x.shape[1:])
        check_inputs(self.x, self.in_shape, self.origin)
        self.notes.append(f"{self.origin.name}: {len(self.x):,} rows of shape {self.in_shape}.")
        largest = _largest(self.x) if is_bytes else None
        if more_inputs is not None:
            self.more_inputs, more_are_bytes = self.to_inputs(more_inputs, MORE)
            check_inputs(self.more_inputs, self.in_shape, MORE)
            if scale == "auto" and transform == "none" and is_bytes != more_are_bytes:
                _check_same_scale(self.x if is_bytes else self.more_inputs, MORE)
            if is_bytes:
                largest = max(_largest(self.x), _largest(self.more_inputs))
        self.transform, notes, warnings = choose_transform(transform, scale, largest, self.origin)
        self.notes += notes
        self.add_warnings(warnings)
        self.num_classes, self.y, self._labelled = None, None, torch.arange(len(self.x))
        if y is not None:
            found = read_targets(y, len(self.x), self.origin, target_type=target_type, num_classes=num_classes)
            self.y, self._labelled = self.set_targets(found), found.rows
        labelled = Examples(choose(self.x, self._labelled), self.y)
        self.add_warnings(find_leaks(labelled.x, by_row(labelled.x, labelled.classes), self.origin))
        names = [f"{self.origin.name}, {name}" for name in ("groups", "times", "splits")]
        self.division = Division.of(len(self.x), groups=groups, order=order, times=times, splits=splits, names=names)
        self.division.check_sizes(validation=validation, test=test)
        self.own_splits = self.division.is_fixed

    def load(self) -> Source:
        division, examples = self.division.subset(self._labelled), Examples(choose(self.x, self._labelled), self.y)
        parts = division.parts(examples, self.validation, self.test, self.split_seed)
        numbers = [self._labelled[part] for part in parts]
        others = complement(self._labelled, len(self.x))
        usable = usable_rows(self.division, others, numbers[1:])
        self.notes += [note for note in left_out_words(len(others) - len(usable)) if note not in self.notes]
        if not self.transform.is_fitted:
            self.transform.fit(choose(self.x, torch.cat([numbers[0], usable])))
        x = scaled(self.x, self.transform)
        if self.transform.statistics:
            check_inputs(x, self.in_shape, replace(self.origin, name=f"{self.origin.name}, {self.transform.words}"))
        pool = [choose(x, usable)] if len(usable) else []
        pool += [] if self.more_inputs is None else [scaled(self.more_inputs, self.transform)]
        content = {
            "inputs": self.x,
            "labels": self.y,
            "labelled rows": None if len(self._labelled) == len(self.x) else self._labelled,
            "inputs without labels": self.more_inputs,
            **self.division.content(),
        }
        train, *held_out = (Examples(choose(x, self._labelled), self.y)[part] for part in parts)
        if isinstance(x, FileRows) and self.memory_limit is not None:
            check_held_out(x.nbytes // len(x) * sum(map(len, held_out)), self.memory_limit)
        validation, test = (Examples(in_memory(each.x), each.y) for each in held_out)
        remarks = division.remarks(examples, parts)
        unlabelled = reduce(join, pool) if pool else None
        return Source(train, validation, test, unlabelled=unlabelled, content=content, **remarks)

    def to_inputs(self, values: Any, origin: Origin) -> tuple[Inputs, bool]:
        """Inputs as float32, and whether they were bytes.

        Args:
            values: Shape ``(N, ...)``, of any type that :class:`Arrays` takes.
            origin: Names rows and columns in messages.

        Raises:
            DataError: If they are no real numbers that fit float32.
        """
        if isinstance(values, FileRows):
            sample = values.numbers[sampled_rows(len(values))]
            assert isinstance(values.file, RowFile)
            check_digits(values.file.read_stored(sample).numpy(), origin)
            return values, values.file.dtype == torch.uint8
        if isinstance(values, Tensor):
            _check_holds_values(values, origin)
        if scipy.sparse.issparse(values) or (isinstance(values, Tensor) and values.layout != torch.strided):
            _check_rows(values, origin)
            x = densify(values, origin)
            self.notes.append(
                f"{origin.name}: sparse inputs of shape {tuple(x.shape)} were made dense, {format_bytes(x.nbytes)}."
            )
            return x, str(values.dtype).removeprefix("torch.") == "uint8"
        if isinstance(values, Tensor):
            _check_rows(values, origin)
            values = values.detach().cpu()
            if values.dtype in (torch.float32, torch.float16, torch.bfloat16):
                return values.float(), False
            check_real(numpy_type(values, origin), origin)
            values = values.numpy()
        array = _array(values, origin)
        _check_rows(array, origin)
        narrow = to_float32(array, origin)
        check_digits(array[sampled_rows(len(array))], origin)
        # torch warns of arrays that cannot be written, and takes none that runs backwards.
        usable = narrow.flags.writeable and min(narrow.strides) >= 0
        return torch.from_numpy(narrow if usable else narrow.copy()), array.dtype == np.uint8


def _check_holds_values(x: Tensor, origin: Origin) -> None:
    """Raise a DataError for tensors without values, and for those whose rows may differ in length."""
    if x.is_meta:
        raise DataError(f"{origin.name}: inputs must hold values, but are a tensor of device meta. Load it first.")
    if x.is_nested:
        raise DataError(
            f"{origin.name}: inputs must have rows of one length, but are a nested tensor. Give "
            "x.to_padded_tensor(0.0)."
        )


def _check_rows(x: Tensor | NDArray[Any], origin: Origin) -> None:
    if x.ndim < 2:
        raise DataError(
            f"{origin.name}: inputs need the shape (N, ...), but have {tuple(x.shape)}. One row is one example."
        )


def _largest(x: Inputs) -> int:
    return max(int(part.max()) for part in pieces(x))


def _check_same_scale(x: Inputs, origin: Origin) -> None:
    """Raise a DataError if bytes would be divided by 255 where the other inputs are no bytes."""
    if _largest(x) >= COUNTS:
        raise DataError(
            f"{origin.name}: x and more_inputs must be of one scale, but only one of them holds bytes, of {COUNTS} and "
            "more. Give both as bytes, or set scale to none or byte."
        )


def _array(values: Any, origin: Origin) -> NDArray[Any]:
    """Numbers of one type as an array."""
    if isinstance(values, np.ma.MaskedArray):
        _refuse_masked(np.asarray(np.ma.getmaskarray(values)), origin)
        values = values.data
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{origin.name}: inputs must be numbers in an array or a tensor: {reason}. Give rows of one length."
        ) from error
    return _from_objects(array, origin) if array.dtype.kind == "O" else array


def _refuse_masked(mask: NDArray[np.bool_], origin: Origin) -> None:
    if mask.any():
        rows = np.asarray(mask.reshape(len(mask), -1).any(axis=1))
        raise DataError(
            f"{origin.name}: inputs must not be masked, but {int(rows.sum())} of {len(rows)} examples have masked "
            f"values, the first in {origin.row(int(rows.argmax()))} (the first row is 0). Impute or drop them."
        )


def _from_objects(array: NDArray[Any], origin: Origin) -> NDArray[Any]:
    """Python's numbers as float64; missing ones are NaN."""
    _check_rows(array, origin)
    if all(issubclass(each, NUMBERS) for each in set(map(type, array.flat))):
        try:
            return array.astype(np.float64)
        except OverflowError as error:
            raise DataError(
                f"{origin.name}: inputs must fit float32, but a whole number is too large. Divide the column."
            ) from error
    values = np.empty(array.shape)
    for place, value in np.ndenumerate(array):
        if isinstance(value, NUMBERS):
            values[place] = np.nan if value is None else value
        elif is_missing(value) and not isinstance(value, str | bytes):
            values[place] = np.nan
        else:
            raise DataError(
                f"{origin.name}: inputs must be numbers, but {origin.row(place[0])} (the first row is 0) holds "
                f"{value!r:.40}, which is a {type(value).__name__}. Encode it as numbers."
            )
    return values
