"""The base class of sources that leave their inputs in a file if they do not fit into memory."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from aepretrain.data.base import DataModule
from aepretrain.data.budget import available_memory, check_held_out, format_bytes, parse_budget
from aepretrain.data.checks import check_inputs, check_labels, check_targets
from aepretrain.data.division import Division
from aepretrain.data.examples import Examples, Source
from aepretrain.data.file_rows import FileRows, by_row, in_memory, join
from aepretrain.data.leaks import find_leaks
from aepretrain.data.origin import Origin
from aepretrain.data.rows import Inputs, complement
from aepretrain.data.targets import Targets
from aepretrain.data.unlabelled_rows import left_out_words, usable_rows
from aepretrain.errors import ConfigError, DataError

HELD_OUT = 10_000
"""Maximum of the default number of validation and of test examples, which is a fifth of all."""


class StoredData(DataModule):
    """A data set in one file of rows: loaded into memory if twice its size fits the budget, else read during training.

    Rows without a label, and those of a second file, follow the examples or stand among them. They are for pretraining
    alone, but for those whose group, time or given split is held out.

    Args:
        num_classes: Number of classes, where the labels are their numbers; ``None``: all labels that occur.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit.
    """

    def __init__(
        self,
        *,
        num_classes: int | None = None,
        validation: int | None = None,
        test: int | None = None,
        labels: int | None = None,
        unlabelled: int | None = None,
        split_seed: int = 0,
        memory_budget: str | int | None = None,
    ) -> None:
        super().__init__(labels=labels, unlabelled=unlabelled, split_seed=split_seed)
        self.num_classes = num_classes
        self.validation = validation
        self.test = test
        self.memory_limit = parse_budget(memory_budget)
        self.division = Division()
        self.y: Tensor | None = None
        self.labelled: Tensor | None = None
        """Numbers of the own rows with a label; ``None``: all have one, or there are no labels."""

    def set_division(self, division: Division) -> None:
        """Keep how the rows are divided, in the order of the files.

        Raises:
            ConfigError: If a size is set for a split that is given.
        """
        division.check_sizes(validation=self.validation, test=self.test)
        self.division, self.own_splits = division, division.is_fixed

    def set_labels(self, found: Targets) -> None:
        """Keep the labels, and which rows have one."""
        self.y, self.labelled = self.set_targets(found), found.rows

    @property
    @abstractmethod
    def own_count(self) -> int:
        """Number of rows that are not those of a second file."""

    @abstractmethod
    def count(self) -> int:
        """Number of all rows, those of a second file last."""

    @abstractmethod
    def read(self) -> tuple[FileRows, Tensor | None]:
        """The examples as rows of a file, to which ``transform`` is applied on reading, and their labels or ``None``.

        If :attr:`labelled` is set, they are these rows; else all own rows.
        """

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The user's files, in a fixed order."""

    def check_raw(self, x: FileRows) -> None:
        """Raise a DataError unless all raw rows can be scaled: they must be finite."""
        if x.file.dtype != torch.uint8:
            check_inputs(x, self.raw_shape, self.origin)

    def examples_of(self, x: FileRows) -> FileRows:
        """Of all rows of the file, those that are examples."""
        return x.subset(torch.arange(self.own_count) if self.labelled is None else self.labelled)

    def without_labels(self, x: FileRows) -> Tensor:
        """Numbers of the own rows without a label, ``x`` being the examples."""
        return complement(x.numbers, self.own_count)

    def more_rows(self) -> Tensor:
        """Numbers of the rows of a second file."""
        return torch.arange(self.own_count, self.count())

    def _for_pretraining(self, x: FileRows, rows: Sequence[Tensor]) -> FileRows | None:
        """Rows for pretraining alone; ``None``: there are none.

        Args:
            x: The examples.
            rows: Indices of the training, validation and test examples among them.
        """
        own = self.without_labels(x)
        usable = usable_rows(self.division, own, [x.numbers[part] for part in rows[1:]])
        self.notes += [note for note in left_out_words(len(own) - len(usable)) if note not in self.notes]
        numbers = torch.cat([usable, self.more_rows()])
        if not len(numbers):
            return None
        return FileRows(x.file, numbers, x.identity, transform=x.transform, budget=x.budget, device=x.device)

    @property
    def origin(self) -> Origin:
        """Names rows and columns in messages as the user knows them."""
        return Origin(self.name)

    def load(self) -> Source:
        x, y = self.read()
        self._check_fits(x)
        self.check_raw(x.raw())
        if self.num_classes is not None:
            check_labels(y, len(x), self.num_classes, self.name)
        if self.num_targets is not None:
            check_targets(y, len(x), self.name)
        classes = Examples(x, y).classes
        self.add_warnings(find_leaks(x.raw(), by_row(x, classes), self.origin))
        division = self.division.subset(x.numbers)
        validation, test = (self._held_out(name, division.undivided(len(x))) for name in ("validation", "test"))
        rows = division.rows(len(x), classes, validation, test, self.split_seed)
        extra = self._for_pretraining(x, rows)
        if extra is not None:
            self.check_raw(extra.raw())
        if not self.transform.is_fitted:
            known = x.raw().subset(rows[0])
            self.transform.fit(known if extra is None else join(known, extra.raw()))
        if self.transform.statistics:
            check_inputs(x, self.in_shape, replace(self.origin, name=f"{self.origin.name}, {self.transform.words}"))
        pool: Inputs | None = extra
        train, held_out, tested = (Examples(x, y)[part] for part in rows)
        nbytes = x.nbytes + (0 if extra is None else extra.nbytes)
        if self.memory_limit is not None and 2 * nbytes > self.memory_limit:
            check_held_out(x.nbytes // len(x) * (len(held_out) + len(tested)), self.memory_limit)
        else:
            train, pool = Examples(in_memory(train.x), train.y), None if extra is None else extra[:]
        unlabelled = {} if extra is None else {"inputs without labels": extra.raw()}
        content = {"inputs": x.raw(), "labels": y, **unlabelled, **division.content()}
        remarks = division.remarks(Examples(x.raw(), y), rows)
        held_out, tested = (Examples(in_memory(each.x), each.y) for each in (held_out, tested))
        return Source(train, held_out, tested, unlabelled=pool, content=content, files=self.files(), **remarks)

    def check(self, source: Source) -> None:
        """Do nothing: :meth:`load` checks all rows before they are divided, by their numbers in the user's files."""

    def _check_fits(self, x: FileRows) -> None:
        """Raise a DataError if the examples do not fit into memory, and no budget says that they need not."""
        if self.memory_limit is None and x.nbytes > (free := available_memory()):
            raise DataError(
                f"{self.origin.name}: {len(x):,} rows of shape {self.raw_shape} need {format_bytes(x.nbytes)} as "
                f"float32, but {format_bytes(free)} are free. Set data.memory_budget, such as "
                f"{format_bytes(max(free // 4, 10**6))}."
            )

    def _held_out(self, name: str, count: int) -> int:
        number: int | None = getattr(self, name)
        if number is not None and not 0 < number < count:
            raise ConfigError(
                f"data.{name} must be a number of examples from 1 to {count - 1}, but got {number}. "
                "Leave it out for a fifth, but at most 10,000."
            )
        return number or max(1, min(HELD_OUT, count // 5))


FLOATS = ("float16", "float32", "float64")
WHOLE = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "bool")
TYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in FLOATS + WHOLE}
"""Supported types of the values in a file; they are read as float32."""
