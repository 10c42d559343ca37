"""What the files of a comparison say: a row per cell, a summary, and the curves and errors of each cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aepretrain.evaluation.baselines import BASELINES
from aepretrain.report.run_files import Curve, read_config, read_curves, read_results
from aepretrain.results.cell import CellResult, Labels, read_rows
from aepretrain.results.comparison import BudgetResult, ComparisonResult


@dataclass(frozen=True)
class ComparisonFiles:
    """A comparison as its files tell it, finished or not.

    Args:
        folder: The directory of the comparison.
        rows: Of the cells that have run.
        summary: What they say together; None while it is missing or belongs to an earlier, smaller comparison.
    """

    folder: Path
    rows: Sequence[CellResult]
    summary: ComparisonResult | None

    @property
    def labels(self) -> list[Labels]:
        """The label budgets in their order."""
        return list(dict.fromkeys(row.labels for row in self.rows))

    @property
    def budgets(self) -> Sequence[BudgetResult]:
        """What is found at every label budget; nothing while there is no summary."""
        return () if self.summary is None else self.summary.budgets

    @property
    def arms(self) -> list[str]:
        """Arms and baselines in their order."""
        return list(dict.fromkeys(row.arm for row in self.rows))

    @property
    def seeds(self) -> list[int]:
        """All seeds, sorted."""
        return sorted({row.seed for row in self.rows})

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Arms that differ in pretraining alone, such as pretrained and random."""
        prefixes = (arm.removesuffix("pretrained") for arm in self.arms if arm.endswith("pretrained"))
        return [(f"{p}pretrained", f"{p}random") for p in prefixes if f"{p}random" in self.arms]

    def accuracies(self, arm: str, labels: Labels) -> dict[int, float]:
        """Test accuracy by seed, a share of 1."""
        return {row.seed: row.test_accuracy for row in self.rows if (row.arm, row.labels) == (arm, labels)}

    def spread(self, arm: str, labels: Labels) -> tuple[float, float]:
        """Mean and standard deviation over seeds of the test accuracy; the latter is NaN for a single seed."""
        values = list(self.accuracies(arm, labels).values())
        if not values:
            return float("nan"), float("nan")
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def differences(self, one: str, other: str, labels: Labels) -> list[float]:
        """Test accuracy of one arm minus that of another, for every seed that has both."""
        a, b = self.accuracies(one, labels), self.accuracies(other, labels)
        return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]

    def cell(self, arm: str, labels: Labels, seed: int) -> Path:
        """The run directory of a cell."""
        return self.folder / "runs" / f"{arm}-{labels}-seed{seed}"

    def curves(self, arm: str, labels: Labels, name: str) -> list[Curve]:
        """A curve of the classifier, such as ``val/error``, of every seed that has one."""
        found = (
            read_curves(self.cell(arm, labels, seed) / "metrics.jsonl").get("classifier", {}).get(name)
            for seed in sorted(self.accuracies(arm, labels))
        )
        return [curve for curve in found if curve]

    def confusion(self, arm: str, labels: Labels) -> NDArray[np.integer] | None:
        """The confusion matrices on test data, summed over seeds; None if there is none."""
        results = [read_results(self.cell(arm, labels, seed)) for seed in self.accuracies(arm, labels)]
        matrices = [np.array(found.classifier.test.confusion_matrix) for found in results if found and found.classifier]
        return sum(matrices[1:], matrices[0]) if matrices else None

    def examples(self, labels: Labels) -> int | None:
        """How many labelled examples a budget has; None if no file says so."""
        if labels != "all":
            return labels
        for row in self.rows:
            if row.labels == labels and row.arm not in BASELINES:
                found = read_results(self.cell(row.arm, labels, row.seed))
                return None if found is None else found.data.labelled
        return None

    def pretraining(self) -> Path | None:
        """The directory of the first pretraining of the main network, if there is one."""
        paths = sorted((self.folder / "runs").glob("pretraining-seed*"))
        return paths[0] if paths else None


def read_comparison(folder: Path) -> ComparisonFiles:
    """Read what a comparison has left so far.

    Raises:
        StorageError: If a file is damaged.
    """
    rows_path, summary_path = folder / "results.csv", folder / "summary.json"
    rows = read_rows(rows_path) if rows_path.is_file() else []
    summary = ComparisonResult.read(summary_path) if summary_path.is_file() else None
    return ComparisonFiles(folder, rows, summary if summary and _is_of(summary, rows, folder) else None)


def _is_of(summary: ComparisonResult, rows: Sequence[CellResult], folder: Path) -> bool:
    """Whether a summary is of these rows and of what the config asks for: a larger comparison may have been stopped."""
    asked = read_config(folder)[1].get("compare", {})
    seeds = asked.get("seeds", summary.seeds)
    if (max(seeds) if isinstance(seeds, list) else seeds) != summary.seeds:
        return False
    budgets = ["all" if labels is None else labels for labels in asked.get("labels") or []]
    if budgets and budgets != [budget.labels for budget in summary.budgets]:
        return False
    return sum(arm.seeds for budget in summary.budgets for arm in budget.arms.values()) == len(rows)
