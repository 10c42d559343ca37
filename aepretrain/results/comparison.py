"""The results of a comparison: ``summary.json``."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace

from aepretrain.results.cell import Labels
from aepretrain.results.metric import METRICS, Metric, MetricName
from aepretrain.results.records import FileRecord, absent, check_range
from aepretrain.results.statistics import PairedDifference


@dataclass(frozen=True)
class ArmResult:
    """The test accuracy, or another metric, of an arm or a baseline at one label budget, over seeds.

    Args:
        mean: Mean.
        std: Standard deviation; NaN for a single seed.
        sampling_error: Standard error of the metric due to the finite test set alone.
        seeds: Number of seeds.
        rmse: Mean of the root mean squared errors, in units of the target; ``None`` for classes.
        mae: Mean of the mean absolute errors, in units of the target; ``None`` for classes.

    Example:
        >>> f"{ArmResult(mean=0.93, std=0.01, sampling_error=0.015, seeds=5).mean:.0%}"
        '93%'
    """

    mean: float
    std: float
    sampling_error: float
    seeds: int
    rmse: float | None = absent()
    mae: float | None = absent()

    def __post_init__(self) -> None:
        check_range(self, "seeds")


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """Arms, differences and verdicts at one label budget, in one metric.

    Args:
        labels: The label budget.
        arms: Arms and baselines by name.
        differences: Paired differences of the test metric by name, such as ``pretrained - random``.
        verdict: Whether pretraining helps, in one sentence; ``None`` if a required arm was left out.
        longer_verdict: The same at equal compute.
        control_verdict: The same for the control network.
        best: The arm or baseline with the best mean.

    Example:
        >>> arms = {"pretrained": ArmResult(0.5, 0.01, 0.029, 3), "knn": ArmResult(0.9, 0.01, 0.017, 3)}
        >>> MetricResult(labels=50, arms=arms, differences={}, verdict=None, best="knn").sampling_error
        0.029
    """

    labels: Labels
    arms: Mapping[str, ArmResult]
    differences: Mapping[str, PairedDifference]
    verdict: str | None
    longer_verdict: str | None = None
    control_verdict: str | None = None
    best: str

    def __post_init__(self) -> None:
        if self.best not in self.arms:
            raise ValueError(f"best must be one of the arms, but is {self.best:.40}")

    @property
    def sampling_error(self) -> float:
        """The largest sampling error of the arms under comparison; of all arms if none are compared."""
        compared = {arm for name in self.differences for arm in name.split(" - ")}
        return max(found.sampling_error for arm, found in self.arms.items() if not compared or arm in compared)


@dataclass(frozen=True, kw_only=True)
class BudgetResult(MetricResult):
    """The result at one label budget in the metric of a comparison, and in other metrics of the same networks.

    Args:
        also: The results in the other metrics, by their names; ``None``: there are none.
    """

    also: Mapping[str, MetricResult] | None = absent()


@dataclass(frozen=True)
class ComparisonResult(FileRecord):
    """Means, differences and verdicts of a comparison: ``summary.json``.

    Args:
        data: Name of the data set.
        seeds: Number of seeds of the label budget that has the most.
        combinations: Number of combinations of settings tried for every arm.
        validation_examples: Number of labelled examples on which settings and epochs were chosen.
        test_examples: Number of examples on which every cell was tested, once.
        budgets: One result per label budget.
        splits: ``per-seed`` or ``fixed``; ``None`` in files of earlier versions, whose splits were fixed.
        warnings: Likely problems of its runs, equal ones merged; ``None`` in files of earlier versions.
        metric: ``r2`` for real targets, ``squared_error`` for reconstructions; ``None``: accuracy.

    Example:
        >>> knn = BudgetResult(labels=50, arms={"knn": ArmResult(0.9, 0.01, 0.02, 3)}, differences={}, verdict=None,
        ...                    best="knn")
        >>> found = ComparisonResult("Digits", 3, 1, 300, 300, (knn,))
        >>> [(budget.labels, budget.best) for budget in found.budgets]
        [(50, 'knn')]
    """

    data: str
    seeds: int
    combinations: int
    validation_examples: int
    test_examples: int
    budgets: tuple[BudgetResult, ...]
    splits: str | None = absent()
    warnings: tuple[str, ...] | None = absent()
    metric: MetricName | None = absent()

    def __post_init__(self) -> None:
        for budget in self.budgets:
            if missing := set(self.measures.also) - set(budget.also or ()):
                raise ValueError(f"also.{min(missing)} is missing")
            for arm in budget.arms.values():
                self.measures.check(arm, "mean")

    @property
    def measures(self) -> Metric:
        """What is compared."""
        return METRICS[self.metric or "accuracy"]

    @property
    def also(self) -> list["ComparisonResult"]:
        """The same comparison in the other metrics of the same networks."""
        return [
            replace(self, metric=name, budgets=tuple(_alone((budget.also or {})[name]) for budget in self.budgets))
            for name in self.measures.also
        ]

    @property
    def splits_text(self) -> str:
        """The division of the data in words."""
        anew = "every seed divides the data anew into training, validation and test examples"
        return anew if self.splits == "per-seed" else "all seeds share one division of the data"

    def better_baselines(self, baselines: Collection[str]) -> str | None:
        """A sentence on the budgets where a baseline has a better mean than every network; ``None`` if there are none.

        Args:
            baselines: The names of the baselines.
        """
        metric, found = self.measures, []
        for budget in self.budgets:
            best = budget.arms[budget.best].mean
            networks = [result.mean for arm, result in budget.arms.items() if arm not in baselines]
            network = max(networks, key=metric.better, default=best)
            if budget.best in baselines and metric.better(best) > metric.better(network):
                form = {"accuracy": ".1%", "r2": ".4f"}.get(metric.name) or metric.form(best)
                found.append(
                    f"{budget.best} at {budget.labels} {metric.counted} ({best:{form}} against {network:{form}})"
                )
        return f"{metric.simple} is better than every network: {'; '.join(found)}." if found else None


def _alone(found: MetricResult) -> BudgetResult:
    """The result in one metric as that of a budget."""
    return BudgetResult(**{each.name: getattr(found, each.name) for each in fields(MetricResult)})
