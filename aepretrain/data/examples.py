"""Examples, and what they are used for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from aepretrain.data.fingerprint import take_fingerprint
from aepretrain.data.rows import Inputs, choose
from aepretrain.results.fingerprint import Fingerprint


@dataclass(frozen=True)
class Examples:
    """Inputs ``x`` of shape ``(N, *in_shape)``, float32, and optional labels ``y`` of shape ``(N,)``.

    Labels are numbers of classes, int64, or real numbers, float32. Inputs larger than memory are
    :class:`~aepretrain.data.rows.Rows`.

    Example:
        >>> examples = Examples(torch.rand(6, 4), torch.arange(6))
        >>> len(examples), examples[torch.tensor([4, 0])].y
        (6, tensor([4, 0]))
    """

    x: Inputs
    y: Tensor | None = None

    @property
    def classes(self) -> Tensor | None:
        """The labels if they are classes, shape ``(N,)``; ``None``: they are real, or there are none."""
        return None if self.y is None or self.y.is_floating_point() else self.y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> "Examples":
        return Examples(choose(self.x, rows), None if self.y is None else self.y[rows])

    def tensors(self) -> list[Inputs]:
        """The inputs, followed by the labels if they exist."""
        return [self.x] if self.y is None else [self.x, self.y]


@dataclass(frozen=True)
class Source:
    """A data set before label budgets are applied: three fixed splits, and optional inputs without labels.

    Args:
        train: Training examples.
        validation: Validation examples.
        test: Test examples.
        unlabelled: Inputs without labels, for pretraining alone.
        content: What the splits were made from, before they were divided and scaled, by name and in the order of the
            files; the fingerprint is taken from it. ``None``: the splits themselves.
        files: The user's files, in a fixed order; empty: unknown.
        division: A sentence on how the splits were made; empty: unknown.
        warnings: Sentences on what looks wrong with the division.

    Example:
        >>> rows = torch.rand(10, 4)
        >>> source = Source(Examples(rows[:6]), Examples(rows[6:8]), Examples(rows[8:]))
        >>> len(source.train), len(source.validation), len(source.test)
        (6, 2, 2)
    """

    train: Examples
    validation: Examples
    test: Examples
    unlabelled: Inputs | None = None
    content: Mapping[str, Inputs | None] | None = None
    files: Sequence[Path] = ()
    division: str = ""
    warnings: Sequence[str] = ()

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What the data are, without the names of columns and classes; taken once, and shared by all label budgets."""
        splits = {"training": self.train, "validation": self.validation, "test": self.test}
        inputs = {f"inputs of the {name} split": split.x for name, split in splits.items()}
        labels = {f"labels of the {name} split": split.y for name, split in splits.items()}
        parts = {**inputs, **labels, "inputs without labels": self.unlabelled}
        counts = [len(split) for split in splits.values()]
        return take_fingerprint(parts if self.content is None else self.content, counts, self.files)


@dataclass(frozen=True)
class Splits:
    """The examples of one run, by their use.

    Args:
        unlabelled: Inputs for pretraining, shape ``(U, *in_shape)``. Validation and test examples are excluded.
        train: Labelled examples for the classifier.
        validation: Examples for choosing epochs and settings.
        test: Examples for the final test, read once.

    Example:
        >>> from aepretrain import Digits
        >>> splits: Splits = Digits(labels=100, unlabelled=900).splits(seed=0)
        >>> len(splits.unlabelled), len(splits.train)
        (900, 100)
    """

    unlabelled: Inputs
    train: Examples
    validation: Examples
    test: Examples
