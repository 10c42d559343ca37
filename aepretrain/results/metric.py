"""What a comparison compares: accuracy, R² of real targets, or the errors of a reconstruction."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from aepretrain.results.records import check_range

MetricName = Literal["accuracy", "r2", "squared_error", "nats"]


@dataclass(frozen=True)
class Metric:
    """A figure of a trained network, and how people read it.

    Args:
        name: As in files.
        word: As in sentences.
        title: Word and unit of tables and axes.
        points: What follows a difference in a sentence.
        unit: Unit of differences.
        simple: A baseline in words.
        meaning: A sentence on what it says; empty: it needs none.
        factor: What tables, axes and sentences multiply it by.
        is_error: Whether smaller is better.
        counted: What a budget counts.
        examples: The examples that a network of the comparison trains on, in words.
        also: Metrics of the same networks that are compared, too.
        least: The least value that it can have.
        most: The largest.

    Example:
        >>> f"{0.01234:{METRICS['nats'].form(0.01234)}}", f"{12.345:{METRICS['nats'].form(12.345)}}"
        ('0.012', '12.35')
    """

    name: MetricName
    word: str
    title: str
    points: str
    unit: str
    simple: str
    meaning: str = ""
    factor: float = 100.0
    is_error: bool = False
    counted: str = "labels"
    examples: str = "labelled examples"
    also: tuple[MetricName, ...] = ()
    least: float = 0
    most: float = math.inf

    def form(self, value: float, decimals: int = 2) -> str:
        """The format of a value times the factor: so many decimals of a share, two of an error, or its two digits."""
        if not self.is_error:
            return f".{decimals}f"
        return ".2g" if 0 < abs(value) < 0.1 else ".2f"

    def check(self, record: Any, *names: str) -> None:
        """Raise a ValueError if one of these fields of a record cannot be a value of this metric."""
        check_range(record, *names, least=self.least, most=self.most)

    @property
    def single(self) -> str:
        """What is measured of one network, whose sampling error is given."""
        return "mean" if self.is_error else self.word

    @property
    def difference(self) -> str:
        """What a difference is of, with its unit."""
        return self.word if self.is_error else f"{self.word} in {self.unit}"

    def better(self, value: float) -> float:
        """A key that is larger for a better value."""
        return -value if self.is_error else value


METRICS: dict[MetricName, Metric] = {
    "accuracy": Metric(
        "accuracy", "accuracy", "accuracy in %", "points", "points", "A simple classifier on the raw input", most=1
    ),
    "r2": Metric(
        "r2",
        "R²",
        "R² in points (R² times 100)",
        "R² points",
        "R² points",
        "A simple regression on the raw input",
        "R² is the share of the target's variance that predictions explain, and an R² point is 1 % of this variance: 0 "
        "is as good as the mean, and below is worse.",
        least=-math.inf,
        most=1,
    ),
    "squared_error": Metric(
        "squared_error",
        "squared error",
        "squared error per example",
        "in squared error",
        "squared error",
        "A linear reconstruction",
        "The squared error is summed over the features of an example: the smaller, the better.",
        factor=1.0,
        is_error=True,
        counted="examples",
        examples="unlabelled examples",
        also=("nats",),
    ),
    "nats": Metric(
        "nats",
        "nats",
        "nats per example",
        "nats",
        "nats",
        "A linear reconstruction",
        "Nats are the loss of the first layer's likelihood: the fewer, the better.",
        factor=1.0,
        is_error=True,
        counted="examples",
        examples="unlabelled examples",
    ),
}
