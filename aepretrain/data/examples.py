"""Examples, and what they are used for."""

from dataclasses import dataclass

from torch import Tensor

from aepretrain.data.rows import Inputs, choose


@dataclass(frozen=True)
class Examples:
    """Inputs ``x`` of shape ``(N, *in_shape)``, float32, and optional labels ``y`` of shape ``(N,)``.

    Inputs larger than memory are :class:`~aepretrain.data.rows.Rows`.
    """

    x: Inputs
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> "Examples":
        return Examples(choose(self.x, rows), None if self.y is None else self.y[rows])

    def tensors(self) -> list[Inputs]:
        """The inputs, followed by the labels if they exist."""
        return [self.x] if self.y is None else [self.x, self.y]


@dataclass(frozen=True)
class Source:
    """A data set before label budgets are applied: three fixed splits, and optional inputs without labels."""

    train: Examples
    validation: Examples
    test: Examples
    unlabelled: Inputs | None = None


@dataclass(frozen=True)
class Splits:
    """The examples of one run, by their use.

    Args:
        unlabelled: Inputs for pretraining, shape ``(U, *in_shape)``. Validation and test examples are excluded.
        train: Labelled examples for the classifier.
        validation: Examples for choosing epochs and settings.
        test: Examples for the final test, read once.
    """

    unlabelled: Inputs
    train: Examples
    validation: Examples
    test: Examples
