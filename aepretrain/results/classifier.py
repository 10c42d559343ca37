"""Metrics of a classifier, and the result of its training."""

from dataclasses import dataclass

from aepretrain.results.head import HeadResult
from aepretrain.results.records import absent, check_range


@dataclass(frozen=True)
class PerClass:
    """Metrics per class, in class order, each in ``[0, 1]``.

    Args:
        recall: Fraction of the examples of a class that are predicted as this class.
        precision: Fraction of the examples predicted as a class that belong to it.
        f1: Harmonic mean of recall and precision.

    Example:
        >>> PerClass(recall=[1.0, 0.5], precision=[0.5, 1.0], f1=[0.67, 0.67]).recall[1]
        0.5
    """

    recall: list[float]
    precision: list[float]
    f1: list[float]


@dataclass(frozen=True)
class Measurement:
    """Metrics of a classifier on labelled examples.

    Args:
        accuracy: Accuracy, in ``[0, 1]``.
        error: ``1 - accuracy``.
        loss: Cross-entropy, in nats per example.
        examples: Number of examples N.
        per_class: Recall, precision and F1 of every class.
        confusion_matrix: Counts, shape ``(C, C)``; rows are the true classes, columns the predicted ones.
        balanced_accuracy: Mean recall of the classes that occur; ``None`` in files of earlier versions.

    Example:
        >>> per_class = PerClass(recall=[1.0, 0.5], precision=[0.67, 1.0], f1=[0.8, 0.67])
        >>> found = Measurement(0.75, 0.25, 0.6, 4, per_class, confusion_matrix=[[2, 0], [1, 1]])
        >>> f"{found.error:.0%} of {found.examples}"
        '25% of 4'
    """

    accuracy: float
    error: float
    loss: float
    examples: int
    per_class: PerClass
    confusion_matrix: list[list[int]]
    balanced_accuracy: float | None = absent()

    def __post_init__(self) -> None:
        check_range(self, "accuracy", "error", "balanced_accuracy", most=1)
        check_range(self, "examples", least=1)
        counts = {len(self.confusion_matrix), *map(len, self.confusion_matrix)}
        counts |= {len(values) for values in (self.per_class.recall, self.per_class.precision, self.per_class.f1)}
        if len(counts) != 1:
            raise ValueError(f"confusion_matrix and per_class must be of one number of classes, but are of {counts}")
        if any(count < 0 for row in self.confusion_matrix for count in row):
            raise ValueError("confusion_matrix must hold counts, but one is negative")


@dataclass(frozen=True)
class ClassifierResult(HeadResult):
    """The result of fine-tuning with classes: ``classifier`` in ``results.json``.

    Args:
        validation: Metrics of the kept epoch on validation data, on which it was chosen.
        test: Metrics of the kept epoch on test data, evaluated once.

    Example:
        >>> from aepretrain.results.records import from_plain
        >>> measured = {"accuracy": 0.5, "error": 0.5, "loss": 0.7, "examples": 2, "confusion_matrix": [[1, 0], [1, 0]],
        ...             "per_class": {"recall": [1.0, 0.0], "precision": [0.5, 0.0], "f1": [0.67, 0.0]}}
        >>> values = {"validation": measured, "test": measured, "weights_arrived": True, "frozen_encoder": False,
        ...           "epochs": 3, "kept_epoch": 2, "steps": 12, "seconds": 0.2}
        >>> from_plain(ClassifierResult, values).test.accuracy
        0.5
    """

    validation: Measurement
    test: Measurement
