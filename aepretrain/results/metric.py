"""What a comparison compares: accuracy, or R² for real targets."""

from dataclasses import dataclass
from typing import Literal

MetricName = Literal["accuracy", "r2"]


@dataclass(frozen=True)
class Metric:
    """A share that is better when larger; differences of it are in points, hundredths.

    Args:
        name: As in files.
        word: As in sentences.
        title: Word and unit of tables and axes, which show it times 100.
        points: Unit of differences.
        meaning: A sentence on what it says; empty: it needs none.
    """

    name: MetricName
    word: str
    title: str
    points: str
    meaning: str = ""


METRICS: dict[MetricName, Metric] = {
    "accuracy": Metric("accuracy", "accuracy", "accuracy in %", "points"),
    "r2": Metric(
        "r2",
        "R²",
        "R² in points (R² times 100)",
        "R² points",
        "R² is the share of the target's variance that predictions explain, and an R² point is 1 % of this variance: 0 "
        "is as good as the mean, and below is worse.",
    ),
}
