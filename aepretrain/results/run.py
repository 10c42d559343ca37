"""The results of a run: ``results.json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aepretrain.results.classifier import ClassifierResult
from aepretrain.results.fingerprint import Fingerprint
from aepretrain.results.head import HeadResult
from aepretrain.results.reconstruction import ReconstructionResult
from aepretrain.results.records import FileRecord, absent, check_range
from aepretrain.results.regressor import RegressorResult
from aepretrain.results.stage import StageResult


@dataclass(frozen=True)
class DataFacts:
    """The data set of a run, and the number of its examples in each split.

    Args:
        name: Name of the data set.
        in_shape: Shape of one input, without the batch dimension.
        classes: Number of classes; ``None`` without labels.
        unlabelled: Number of examples used for pretraining.
        labelled: Number of examples used for fine-tuning.
        validation: Number of validation examples.
        test: Number of test examples.
        fingerprint: What the data were; ``None`` in files of versions that did not record it.
        class_names: Names of the classes, by their numbers; ``None``: they have no names.
        targets: Number of real targets of an example; ``None``: none.

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
    fingerprint: Fingerprint | None = absent()
    class_names: tuple[str, ...] | None = absent()
    targets: int | None = absent()

    def __post_init__(self) -> None:
        check_range(self, "in_shape", "classes", "unlabelled", "labelled", "validation", "test", "targets")


@dataclass(frozen=True)
class PatternCode:
    """The code and the reconstruction of a one-hot pattern.

    Args:
        pattern: Number of the pattern.
        code: Its code, one value per unit.
        answer: Number of the decoded pattern.
        solved: Whether the decoded pattern is the pattern itself.

    Example:
        >>> PatternCode(pattern=2, code=[0.1, 0.9, 0.4], answer=2, solved=True).solved
        True
    """

    pattern: int
    code: list[float]
    answer: int
    solved: bool


@dataclass(frozen=True)
class WarmStarted:
    """The run that the lowest layers began from.

    Args:
        run: Its directory.
        sha256: The SHA-256 of its encoder, which identifies weights and preprocessing.
        layers: Number of layers that began with its weights.
        frozen: Number of layers, from the input up, that were taken as they are.

    Example:
        >>> WarmStarted("runs/digits", "5f…", layers=2).frozen
        0
    """

    run: str
    sha256: str
    layers: int
    frozen: int = 0

    def __post_init__(self) -> None:
        check_range(self, "layers", "frozen")


@dataclass(frozen=True)
class RunResult(FileRecord):
    """The results of a run and the conditions that produced them: ``results.json``.

    Args:
        stages: One per pretrained layer, from the input up; empty in a comparison cell, which pretrains elsewhere.
        classifier: The result of fine-tuning with classes; ``None`` if the run only pretrained, or targets are real.
        data: The data set.
        versions: The versions of Python and of the packages that affect results, by name.
        seed: Seed of the initial weights, the batch order, the noise and the labelled subset.
        device: The device, such as ``cpu`` or ``cuda:0``.
        processes: Number of processes that trained together.
        warnings: Likely problems, one sentence each; ``None`` in a cell of a comparison.
        patterns: The code and the reconstruction of each one-hot pattern; ``None`` for other data.
        hyperparameters: In a cell of a comparison, the chosen combination of settings; else ``None``.
        warm_start: The run that the lowest layers began from; ``None`` if all began at random.
        regressor: The result of fine-tuning with real targets; ``None`` without.
        reconstruction: The reconstruction of a stack that was trained as a whole; ``None`` without.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
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
    warm_start: WarmStarted | None = absent()
    regressor: RegressorResult | None = absent()
    reconstruction: ReconstructionResult | None = absent()

    @property
    def head(self) -> HeadResult | None:
        """The result of fine-tuning, with classes or real targets; ``None`` if the run only pretrained."""
        return self.classifier or self.regressor
