"""The base class of data sources: fixed splits, a labelled subset and the inputs for pretraining."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from aepretrain.data.batches import EVALUATION_BATCH, Batches
from aepretrain.data.checks import check_inputs, check_labels, check_targets, check_trainable
from aepretrain.data.examples import Examples, Source, Splits
from aepretrain.data.file_rows import WINDOW, join
from aepretrain.data.inspection import inspect, missing_classes
from aepretrain.data.origin import Origin
from aepretrain.data.read_ahead import WINDOWS
from aepretrain.data.rows import Inputs, choose
from aepretrain.data.targets import Targets
from aepretrain.data.transforms import NoTransform, Transform
from aepretrain.errors import ConfigError, DataError
from aepretrain.parts.noise import derive_seed
from aepretrain.results.fingerprint import Fingerprint

DIVISIONS, DIVISIONS_BYTES = 8, 2**28
"""Divisions kept in memory: at most this number, if at most this many bytes in all; else 1."""


class DataModule(LightningDataModule, ABC):
    """A data set with fixed train / validation / test splits.

    A subclass implements :meth:`load` and sets ``in_shape`` and ``num_classes`` (``None``: no classes), or
    ``num_targets`` for real targets. It sets ``transform`` if it preprocesses the raw values.

    Args:
        labels: Number of labelled training examples for the head, chosen by the run's seed and balanced over the
            classes if there are any; ``None`` is all. A smaller budget is a subset of a larger one.
        unlabelled: Number of training examples set aside for pretraining alone. Pretraining then sees only these and
            the inputs that came without labels; label budgets exclude them. ``None``: pretraining sees the inputs of
            all training examples. Like the labelled examples they are chosen from the training examples alone, so
            groups and times that divide the data need no regard here.
        split_seed: Seed of the division into training, validation and test data, where the data have no splits of
            their own and are not divided by time.
    """

    in_shape: tuple[int, ...]
    num_classes: int | None
    num_targets: int | None = None
    """Number of real targets of an example; ``None``: the labels are classes, or there are none."""
    batch_size: int = 128
    """Batch size of the data loaders, over all processes; at least 1024 for validation and test."""
    transform: Transform
    """Preprocessing that :meth:`load` applies, fitted on training rows alone; the saved encoder begins with it."""
    preprocessing: str = ""
    """Description of the preprocessing; empty: the description of the transform."""
    columns: list[str] | None = None
    """Names of the feature columns, in order; ``None``: the features have no names."""
    unused: Sequence[str] = ()
    """Names of the columns that are neither features nor labels."""
    class_names: list[str] | None = None
    """Class names, indexed by label; ``None``: the classes have no names."""
    own_splits: bool = False
    """Whether the data come with splits of their own, which no seed changes."""
    memory_limit: int | None = None
    """Memory limit for inputs and codes, in bytes; ``None``: no limit."""

    def __str__(self) -> str:
        # Lightning's own knows loaders of PyTorch alone.
        classes = "" if self.num_classes is None else f" in {self.num_classes} classes"
        classes = " with a real target" if self.num_targets else classes
        return f"{self.name}: examples of shape {self.in_shape}{classes}"

    @property
    def read_ahead(self) -> int:
        """Memory for reading ahead from a file, in bytes: at most an eighth of the limit."""
        most = WINDOWS * WINDOW
        return most if self.memory_limit is None else min(most, self.memory_limit // 8)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one example before the transform."""
        return self.in_shape

    @property
    def feature_names(self) -> Sequence[str] | None:
        """Names of the inputs of a network, in order; ``None``: they have no names."""
        return self.columns

    @property
    def layer_defaults(self) -> dict[str, Any]:
        """What the first layer of a config takes where it names none: ``likelihood`` and ``corruption``, or nothing."""
        return {}

    def settled(self) -> dict[str, Any]:
        """Settings that reading the data settled, for the resolved config: a table's columns, by name."""
        return {} if self.columns is None else {"columns": list(self.columns)}

    def use_transform(self, transform: Transform) -> None:
        """Apply the transform that a run fitted, instead of one fitted to these data. They are then read again."""
        self.transform = transform
        self._forget()

    def __init__(self, *, labels: int | None = None, unlabelled: int | None = None, split_seed: int = 0) -> None:
        super().__init__()
        self.name: str = type(self).__name__
        for name, value in (("labels", labels), ("unlabelled", unlabelled)):
            if value is not None and value < 1:
                raise ConfigError(f"data.{name} must be >= 1, but got {value}. Leave it out to use all.")
        self.labels = labels
        self.unlabelled = unlabelled
        self.split_seed = split_seed
        self.transform = NoTransform()
        self.notes: list[str] = []
        """Sentences on what was read: files, rows, columns or classes, and what was left out and why."""
        self.warnings: list[str] = []
        """Sentences on what looks wrong with the data, each with the way out; complete after :meth:`source`."""
        self._forget()
        self._first_division: Self | None = None
        self._inspected = False

    def _forget(self) -> None:
        """Drop what was read."""
        self._source: Source | None = None
        self._redivided: dict[int, Self] = {}

    @abstractmethod
    def load(self) -> Source:
        """Read the data set and split it, the same way every time."""

    def source(self) -> Source:
        """The data set, read and checked once.

        Raises:
            DataError: If the data are missing, empty, of the wrong shape, not finite, or labels out of range.
        """
        if self._source is None:
            try:
                source = self.load()
            except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
                raise DataError(f"{self.name}: {error.filename}: {error.strerror}. Name another path.") from error
            self.check(source)
            if source.division and source.division not in self.notes:
                self.notes.append(source.division)
            self.add_warnings(source.warnings)
            if self.num_classes is not None:
                check_trainable(source.train.y, self.class_names, self.name)
                self.add_warnings(missing_classes(source, self.class_names))
            if not self._inspected:
                self.add_warnings(inspect(source, self.feature_names))
                self._inspected = True
            self._source = source
        return self._source

    def fingerprint(self) -> Fingerprint:
        """What the data are, whatever the label budget, the seed, the memory budget and the paths.

        If ``load`` gives no ``content``, it is computed from the first division.

        Raises:
            DataError: As :meth:`source`.
        """
        if self._first_division is not None and self.source().content is None:
            return self._first_division.fingerprint()
        columns, classes = (None if names is None else tuple(names) for names in (self.feature_names, self.class_names))
        return replace(self.source().fingerprint, columns=columns, classes=classes)

    def check(self, source: Source) -> None:
        """Raise a DataError unless what :meth:`load` returned can be trained on.

        Rows are named by their number in the split: a source that divides the user's rows checks them before, by their
        own numbers.
        """
        for split in ("train", "validation", "test"):
            examples: Examples = getattr(source, split)
            check_inputs(examples.x, self.in_shape, Origin(f"{self.name}, {split} split"))
            if self.num_classes is not None:
                check_labels(examples.y, len(examples), self.num_classes, f"{self.name}, {split} split")
            if self.num_targets is not None:
                check_targets(examples.y, len(examples), f"{self.name}, {split} split")
        if source.unlabelled is not None:
            check_inputs(source.unlabelled, self.in_shape, Origin(f"{self.name}, unlabelled inputs"))

    def set_targets(self, found: Targets) -> Tensor:
        """Set classes, notes and warnings from targets; return the targets of labelled rows, shape ``(L,)``."""
        self.num_classes, self.class_names = found.num_classes, found.names
        self.num_targets = 1 if found.num_classes is None else None
        self.notes += found.notes
        self.add_warnings(found.warnings)
        return found.y

    def add_warnings(self, sentences: Sequence[str]) -> None:
        """Add what looks wrong to ``warnings``, once: a copy for another process loads the data again."""
        self.warnings += [each for each in sentences if each not in self.warnings]

    def splits(self, seed: int = 0) -> Splits:
        """The examples of a run with this seed.

        The split into training, validation and test data is the same for every seed; the seed chooses the labelled
        subset and the separate unlabelled pool.
        """
        source = self.source()
        train, pool = source.train, source.train.x
        if self.unlabelled is not None:
            train, pool = _set_aside(train, self.unlabelled, derive_seed(seed, "unlabelled"))
        if source.unlabelled is not None:
            pool = join(pool, source.unlabelled)
        if self.labels is not None:
            if train.y is None:
                raise ConfigError(
                    f"data.labels {self.labels} chooses labelled examples, but {self.name} has no labels. Name them "
                    "(data.y, data.target), or leave data.labels out."
                )
            chosen = derive_seed(seed, "labels")
            if train.classes is None:
                train = train[random_subset(len(train), self.labels, chosen)]
            else:
                train = train[balanced_subset(train.classes, self.labels, chosen, self.class_names)]
        return Splits(pool, train, source.validation, source.test)

    def with_labels(self, labels: int | None) -> Self:
        """The same data set with another label budget; the loaded data are shared."""
        data = copy.copy(self)
        data._source = self.source()
        data.labels = labels
        return data

    def with_split(self, seed: int) -> Self:
        """The same data set, divided anew by another ``split_seed``; itself if it has splits of its own."""
        if self.own_splits or seed == self.split_seed:
            return self
        if seed not in self._redivided:
            data = copy.copy(self)
            data._source, data._redivided, data.split_seed = None, {}, seed
            data._first_division = self
            data.transform = type(self.transform)(**self.transform.arguments())
            data.notes = [note for note in self.notes if note != self.source().division]
            data.warnings = list(self.warnings)
            kept = DIVISIONS if self._nbytes() * DIVISIONS <= DIVISIONS_BYTES else 1
            self._redivided = {**dict(list(self._redivided.items())[1 - kept :] if kept > 1 else ()), seed: data}
        return self._redivided[seed]

    def _nbytes(self) -> int:
        source = self.source()
        parts = (source.train.x, source.validation.x, source.test.x, source.unlabelled)
        return sum(x.nbytes for x in parts if isinstance(x, Tensor))

    def __getstate__(self) -> dict[str, Any]:
        """The settings without the data: another process loads the data itself."""
        return {**vars(self), "_source": None, "_redivided": {}}

    def for_pretraining(self, seed: int = 0, *, batch_size: int | None = None) -> "PretrainingData":
        """The inputs for pretraining, for a stock Lightning Trainer: ``Trainer().fit(layer, this)``.

        Args:
            seed: Seed of the order, and of the choice of the separate pool.
            batch_size: Examples per optimizer step, over all processes; ``None``: ``self.batch_size``.

        Example:
            >>> from aepretrain import Digits
            >>> len(next(iter(Digits(labels=50).for_pretraining(batch_size=32).train_dataloader()))[0])
            32
        """
        splits = self.splits(seed)
        inputs = (splits.unlabelled, splits.validation.x, splits.test.x)
        return PretrainingData(*inputs, seed=seed, batch_size=batch_size or self.batch_size)

    def train_dataloader(self) -> Batches:
        return Batches(self.splits().train.tensors(), self.batch_size)

    def val_dataloader(self) -> Batches:
        return Batches(self.splits().validation.tensors(), max(self.batch_size, EVALUATION_BATCH), shuffle=False)

    def test_dataloader(self) -> Batches:
        return Batches(self.splits().test.tensors(), max(self.batch_size, EVALUATION_BATCH), shuffle=False)

    def predict_dataloader(self) -> Batches:
        return self.test_dataloader()


class PretrainingData(LightningDataModule):
    """Inputs alone, without labels, as a LightningDataModule.

    Args:
        unlabelled: Training inputs of a layer, shape ``(U, *in_shape)``.
        validation: Validation inputs.
        test: Test inputs, which ``predict`` encodes.
        seed: Seed of the order.
        batch_size: Examples per optimizer step, over all processes.
    """

    def __init__(self, unlabelled: Inputs, validation: Inputs, test: Inputs, *, seed: int, batch_size: int) -> None:
        super().__init__()
        self.unlabelled = unlabelled
        self.validation = validation
        self.test = test
        self.seed = seed
        self.batch_size = batch_size

    def __str__(self) -> str:
        return f"{len(self.unlabelled):,} inputs of shape {tuple(self.unlabelled.shape[1:])} for pretraining"

    def train_dataloader(self) -> Batches:
        return Batches([self.unlabelled], self.batch_size, seed=self.seed)

    def val_dataloader(self) -> Batches:
        return Batches([self.validation], max(self.batch_size, EVALUATION_BATCH), shuffle=False)

    def test_dataloader(self) -> Batches:
        return Batches([self.test], max(self.batch_size, EVALUATION_BATCH), shuffle=False)

    def predict_dataloader(self) -> Batches:
        return self.test_dataloader()


def _set_aside(train: Examples, count: int, seed: int) -> tuple[Examples, Inputs]:
    """Split off the inputs of ``count`` examples, chosen by the seed: (remaining examples, inputs)."""
    if count >= len(train):
        raise ConfigError(
            f"data.unlabelled must leave labelled examples: {count} of {len(train)} training examples were asked for."
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return train[order[count:]], choose(train.x, order[:count])


def random_subset(count: int, size: int, seed: int) -> Tensor:
    """Choose examples with real targets at random; with the same seed, a smaller subset is part of a larger one.

    Args:
        count: Number of training examples.
        size: Number of examples to choose, at least 2.
        seed: Determines the choice.

    Returns:
        Indices of the chosen examples, shape ``(size,)``.

    Raises:
        ConfigError: If ``size`` is below 2.
        DataError: If there are fewer examples.

    Example:
        >>> len(random_subset(10, 4, seed=0))
        4
    """
    if size < 2:
        raise ConfigError(f"{size} labels do not tell a spread of real targets. Raise data.labels to 2 or more.")
    if size > count:
        raise DataError(
            f"there are {count:,} training examples with a target, but data.labels asks for {size:,}. Lower it to "
            f"{count:,} or less."
        )
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:size]


def balanced_subset(y: Tensor, count: int, seed: int, names: Sequence[str] | None = None) -> Tensor:
    """Choose a subset in which class counts differ by at most 1.

    Args:
        y: Labels, shape ``(N,)``.
        count: Number of examples to choose; at least one per class.
        seed: Determines the choice. With the same seed, a smaller subset is part of a larger one.
        names: Names of the classes for messages; ``None``: their numbers.

    Returns:
        Indices of the chosen examples, shape ``(count,)``.

    Raises:
        ConfigError: If ``count`` is below the number of classes.
        DataError: If a class has too few examples for an equal share.

    Example:
        >>> y = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> y[balanced_subset(y, 4, seed=0)].sort().values
        tensor([0, 0, 1, 1])
    """
    classes = y.unique()
    if count < len(classes):
        raise ConfigError(f"{count} labels are fewer than the {len(classes)} classes. Raise data.labels.")
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(y), generator=generator)
    turns = torch.randperm(len(classes), generator=generator).tolist()
    # Dealt like cards, one of each class in turn: any prefix is balanced, so smaller budgets are subsets.
    ranks = torch.empty_like(shuffled)
    most = len(classes) * min(int((y == label).sum()) for label in classes)
    for turn, label in zip(turns, classes, strict=True):
        members = (y[shuffled] == label).nonzero().squeeze(1)
        needed = len(range(turn, count, len(classes)))
        if len(members) < needed:
            raise DataError(
                f"class {names[label] if names else label.item()} has {len(members)} training examples, but a balanced "
                f"choice of {count} labels needs {needed}. Lower data.labels to {most} or less."
            )
        ranks[members] = torch.arange(len(members)) * len(classes) + turn
    return shuffled[ranks.argsort()[:count]]
