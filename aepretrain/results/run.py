"""What a run found: ``results.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aepretrain.results.classifier import ClassifierResult
from aepretrain.results.records import absent, read_record, write_record
from aepretrain.results.stage import StageResult


@dataclass(frozen=True)
class DataFacts:
    """The data set of a run, and how many of its examples were used for what.

    Args:
        name: Of the data set.
        in_shape: Shape of one input, without the batch dimension.
        classes: Number of classes; ``None`` without labels.
        unlabelled: Examples that pretraining saw.
        labelled: Examples that fine-tuning saw.
        validation: Validation examples.
        test: Test examples.
        class_names: Names of the classes, by their numbers; ``None``: they have no names.

    Example:
        >>> DataFacts("Digits", (1, 8, 8), 10, unlabelled=1197, labelled=50, validation=300, test=300).labelled
        50
    """

    name: str
    in_shape: tuple[int, ...]
    classes: int | None
    unlabelled: int
    labelled: int
    validation: int
    test: int
    class_names: tuple[str, ...] | None = absent()


@dataclass(frozen=True)
class PatternCode:
    """What became of a one-hot pattern.

    Args:
        pattern: Number of the pattern.
        code: Its code, one value per unit.
        answer: Number of the pattern that the decoder answers with.
        solved: Whether that is the pattern itself.

    Example:
        >>> PatternCode(pattern=2, code=[0.1, 0.9, 0.4], answer=2, solved=True).solved
        True
    """

    pattern: int
    code: list[float]
    answer: int
    solved: bool


@dataclass(frozen=True)
class RunResult:
    """What a run found, and with what: ``results.json``.

    Args:
        stages: One per pretrained layer, from the input up; none in a cell of a comparison, which pretrains elsewhere.
        classifier: What fine-tuning found; ``None`` where a run only pretrained.
        data: The data set.
        versions: Package to version, of what decides a result.
        seed: Of the initial weights, the batch order, the noise and the labelled subset.
        device: The kind of device, such as ``cpu`` or ``cuda:0``.
        processes: How many processes trained together.
        warnings: What is likely to disappoint, one sentence each; ``None`` in a cell of a comparison.
        patterns: Of one-hot patterns, the code and the answer of each; ``None`` for other data.
        hyperparameters: In a cell of a comparison, the combination of settings that was chosen; else ``None``.

    Example:
        >>> import tempfile
        >>> data = DataFacts("Digits", (1, 8, 8), 10, unlabelled=1197, labelled=50, validation=300, test=300)
        >>> found = RunResult((), None, data, {"torch": "2.14"}, seed=0, device="cpu", processes=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found.write(Path(folder) / "results.json")
        ...     RunResult.read(Path(folder) / "results.json") == found
        True
    """

    stages: tuple[StageResult, ...]
    classifier: ClassifierResult | None
    data: DataFacts
    versions: Mapping[str, str]
    seed: int
    device: str
    processes: int
    warnings: tuple[str, ...] | None = absent()
    patterns: tuple[PatternCode, ...] | None = absent()
    hyperparameters: Mapping[str, Any] | None = absent()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read ``results.json``.

        Raises:
            StorageError: If it is missing, damaged or lacks a key.
        """
        return read_record(cls, path)

    def write(self, path: Path) -> None:
        """Write ``results.json`` whole or not at all; of several processes, the first one does.

        Raises:
            StorageError: If it cannot be written.
        """
        write_record(path, self)
