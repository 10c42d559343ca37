"""What the arms of a comparison are trained for: the part of a cell that differs between heads and reconstructions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aepretrain.compare.arms import Arm
from aepretrain.results.metric import MetricName
from aepretrain.results.row_values import RowValues
from aepretrain.results.run import RunResult
from aepretrain.results.stage import StageRecord
from aepretrain.runs.experiment import Experiment


class Trained(Protocol):
    """What an arm trained."""

    @property
    def record(self) -> StageRecord:
        """The record of the training."""

    @property
    def score(self) -> tuple[float, ...]:
        """What chooses among combinations of settings, on validation data; larger is better."""


@dataclass(frozen=True)
class Tested:
    """What was measured of an arm or a baseline, once.

    Args:
        row: What a row of ``results.csv`` takes.
        rows: Values of single test examples; ``None``: the errors of the metric do not need them.
        results: The results of the run; ``None`` for a baseline.
    """

    row: Mapping[str, Any]
    rows: RowValues | None
    results: RunResult | None = None


class Task(ABC):
    """Base class of what the arms of a comparison are trained for."""

    metric: MetricName
    """What the networks are trained for."""
    may_batch_seeds: bool
    """Whether many seeds may train at once."""
    rows: type[RowValues] | None
    """The values of single test examples that a cell keeps; ``None``: none."""

    @abstractmethod
    def check(self, experiment: Experiment) -> None:
        """Raise a ConfigError if an experiment cannot be trained for it."""

    def how_to_repeat(self, arm: Arm) -> str:
        """What ``fit`` makes of the config of an arm, for its first line."""
        return "fit trains it again"

    def layers_alone(self, experiment: Experiment) -> Experiment:
        """The experiment that pretrains the layers, whose result all arms share."""
        return experiment

    @abstractmethod
    def of_arm(self, experiment: Experiment, arm: Arm) -> Experiment:
        """The experiment as an arm trains it."""

    @abstractmethod
    def settings(self, experiment: Experiment, arm: Arm) -> Mapping[str, Any]:
        """The settings, by dotted name, by which the config of an arm differs from that of the comparison."""

    @abstractmethod
    def lengthened(self, experiment: Experiment, times: int) -> Experiment:
        """The experiment with so many times the epochs."""

    @abstractmethod
    def epochs(self, experiment: Experiment) -> int:
        """The epochs of an arm."""

    @abstractmethod
    def steps(self, experiment: Experiment) -> int:
        """The optimizer steps of an arm."""

    @abstractmethod
    def train(
        self, experiment: Experiment, arm: Arm, folder: Path, pretrained: Path | None, *, resume: bool
    ) -> Trained:
        """Train an arm. The test data are not used.

        Args:
            experiment: The experiment of the arm.
            arm: The arm.
            folder: Its run directory.
            pretrained: Run directory of the pretraining; ``None``: the arm begins from random weights.
            resume: Take up what ``folder`` holds.
        """

    @abstractmethod
    def test(self, experiment: Experiment, trained: Any) -> Tested:
        """Measure an arm on validation and test data. Reads the test set."""

    @abstractmethod
    def baseline(self, experiment: Experiment, name: str) -> Tested:
        """Fit a baseline on training data and measure it. Reads the test set."""
