"""Reading the files of a comparison: the rows, the summary, and the curves and confusion matrices of each cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.run_files import Curve, last_curves, read_config, read_results
from aepretrain.results.cell import CellResult, Labels, read_rows
from aepretrain.results.comparison import BudgetResult, ComparisonResult
from aepretrain.results.findings import merge_findings
from aepretrain.results.metric import METRICS, Metric, MetricName
from aepretrain.results.predictions import Predictions
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.storage.array_files import read_arrays


@dataclass(frozen=True)
class ComparisonFiles:
    """The contents of a comparison directory, finished or not.

    Args:
        folder: Directory of the comparison.
        rows: Results of the finished cells.
        summary: Summary of the cells; None if missing or of an earlier, smaller comparison.
        shown: Name of the metric that is shown; None: what the networks were trained for.
    """

    folder: Path
    rows: Sequence[CellResult]
    summary: ComparisonResult | None
    shown: MetricName | None = None

    @property
    def labels(self) -> list[Labels]:
        """Label budgets, in order of appearance."""
        return list(dict.fromkeys(row.labels for row in self.rows))

    @property
    def budgets(self) -> Sequence[BudgetResult]:
        """Results of each label budget; empty without a summary."""
        return () if self.summary is None else self.summary.budgets

    @property
    def arms(self) -> list[str]:
        """Arms and baselines, in order of appearance."""
        return list(dict.fromkeys(row.arm for row in self.rows))

    @property
    def seeds(self) -> list[int]:
        """All seeds, sorted."""
        return sorted({row.seed for row in self.rows})

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Pairs of arms that differ only in pretraining, such as pretrained and random."""
        prefixes = (arm.removesuffix("pretrained") for arm in self.arms if arm.endswith("pretrained"))
        return [(f"{p}pretrained", f"{p}random") for p in prefixes if f"{p}random" in self.arms]

    @property
    def metric(self) -> Metric:
        """What is shown."""
        return METRICS[self.shown or (self.rows[0].metric.name if self.rows else "accuracy")]

    @property
    def also(self) -> list[Self]:
        """The same comparison in the other metrics of the same networks."""
        summaries = self.summary.also if self.summary else [None] * len(self.metric.also)
        return [
            replace(self, summary=summary, shown=name)
            for name, summary in zip(self.metric.also, summaries, strict=True)
        ]

    def scores(self, arm: str, labels: Labels) -> dict[int, float]:
        """The test metric by seed."""
        name = self.metric.name
        return {row.seed: row.score("test", name) for row in self.rows if (row.arm, row.labels) == (arm, labels)}

    def spread(self, arm: str, labels: Labels) -> tuple[float, float]:
        """Mean and standard deviation of the test metric over seeds; NaN where undefined."""
        values = list(self.scores(arm, labels).values())
        if not values:
            return float("nan"), float("nan")
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def differences(self, one: str, other: str, labels: Labels) -> list[float]:
        """The test metric of ``one`` minus that of ``other``, for each seed that has both."""
        a, b = self.scores(one, labels), self.scores(other, labels)
        return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]

    def cell(self, arm: str, labels: Labels, seed: int) -> Path:
        """Run directory of a cell."""
        return self.folder / "runs" / f"{arm}-{labels}-seed{seed}"

    def curves(self, arm: str, labels: Labels, name: str) -> list[Curve]:
        """The curve with this name, such as ``val/error``, of what a cell trained, for each seed that has one."""
        found = (last_curves(self.cell(arm, labels, seed)).get(name) for seed in sorted(self.scores(arm, labels)))
        return [curve for curve in found if curve]

    def pictures(self, arm: str, labels: Labels) -> Mapping[str, NDArray[Any]]:
        """Validation inputs and their reconstructions by all layers, of the first seed; empty if there are none."""
        seeds = sorted(self.scores(arm, labels))
        return read_arrays(self.cell(arm, labels, seeds[0]) / "stages" / UNROLLED / "samples.npz") if seeds else {}

    def confusion(self, arm: str, labels: Labels) -> NDArray[np.integer] | None:
        """Confusion matrix on test data, summed over seeds; None if there is none."""
        results = [read_results(self.cell(arm, labels, seed)) for seed in self.scores(arm, labels)]
        matrices = [np.array(found.classifier.test.confusion_matrix) for found in results if found and found.classifier]
        return sum(matrices[1:], matrices[0]) if matrices else None

    def predictions(self, arm: str, labels: Labels) -> Predictions | None:
        """Predictions of real targets on test data, of all seeds; None if there are none."""
        found = [Predictions.read(self.cell(arm, labels, seed)) for seed in self.scores(arm, labels)]
        known = [each for each in found if each is not None]
        if not known:
            return None
        return Predictions(
            *(np.concatenate([getattr(each, name) for each in known]) for name in ("targets", "predicted"))
        )

    def examples(self, labels: Labels) -> int | None:
        """Number of examples of a budget; None if no file records it."""
        if labels != "all":
            return labels
        for row in self.rows:
            if row.labels == labels and row.arm not in BASELINES:
                found = read_results(self.cell(row.arm, labels, row.seed))
                if found is None:
                    return None
                return found.data.labelled if self.metric.counted == "labels" else found.data.unlabelled
        return None


def first_pretraining(folder: Path) -> Path | None:
    """Directory of the first pretraining of a comparison's main network; None if there is none."""
    return min((folder / "runs").glob("pretraining-seed*"), default=None)


def read_comparison(folder: Path) -> ComparisonFiles:
    """Read the files that a comparison has written so far.

    Raises:
        StorageError: If a file is damaged.
    """
    rows_path, summary_path = folder / "results.csv", folder / "summary.json"
    rows = read_rows(rows_path) if rows_path.is_file() else []
    summary = ComparisonResult.read(summary_path) if summary_path.is_file() else None
    return ComparisonFiles(folder, rows, summary if summary and _is_of(summary, rows, folder) else None)


def _is_of(summary: ComparisonResult, rows: Sequence[CellResult], folder: Path) -> bool:
    """Whether a summary matches the rows and the config: a larger comparison may have been interrupted."""
    config = read_config(folder)[1].get("compare")
    asked = config if isinstance(config, Mapping) else {}
    seeds, labels = asked.get("seeds", summary.seeds), asked.get("labels")
    counts = [count for count in (seeds if isinstance(seeds, list) else [seeds]) if isinstance(count, int)]
    if max(counts, default=None) != summary.seeds:
        return False
    budgets = ["all" if budget is None else budget for budget in (labels if isinstance(labels, list) else ())]
    if budgets and budgets != [budget.labels for budget in summary.budgets]:
        return False
    return sum(arm.seeds for budget in summary.budgets for arm in budget.arms.values()) == len(rows)


def run_warnings(folder: Path) -> list[str]:
    """What the runs of a comparison show to be wrong, those alike as one, each with the names of its runs.

    Args:
        folder: Directory of the comparison.
    """
    runs = sorted(path.parent for path in (folder / "runs").glob("*/results.json"))
    runs.sort(key=lambda run: not run.name.startswith("pretraining"))
    results = {run.name: read_results(run) for run in runs}
    return merge_findings({name: found.warnings or () for name, found in results.items() if found})
