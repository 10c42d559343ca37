"""Does pretraining help here? Arms x seeds x label budgets, paired, with an answer in one sentence."""

import copy
import csv
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aepretrain.baselines import BASELINES, measure_baseline
from aepretrain.encoder import load_encoder
from aepretrain.errors import ConfigError
from aepretrain.experiment import Experiment
from aepretrain.statistics import paired_difference, sampling_error, verdict
from aepretrain.tracking.comparison import log_comparison, open_cell, open_pretraining
from aepretrain.tracking.json_files import read_json, write_json
from aepretrain.tracking.wandb_mode import settle_mode
from aepretrain.training.progress import say

Arm = Literal["pretrained", "random", "probe"]
COLUMNS = (
    "arm", "seed", "labels", "validation_accuracy", "test_accuracy", "epochs", "steps", "seconds", "hyperparameters"
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Within a seed all arms share the splits, the labelled subset, the head's initial weights, the batch order, the noise
    and the budget of fine-tuning; only the encoder's weights differ. Pretraining runs once per seed.

    Args:
        arms: ``pretrained`` (fine-tuned), ``random`` (the same network from its random initial weights, fine-tuned
            alike), ``probe`` (the pretrained encoder frozen, the head alone trained).
        seeds: How many seeds: 0, 1, ...; at least 3 for an answer.
        labels: Label budgets; ``null`` is all labels.
        baselines: Classifiers on the raw input: ``logistic``, ``knn``, ``svm``.

    Raises:
        ConfigError: If there is nothing to compare, or a baseline is unknown.

    Example:
        >>> len(list(Comparison(seeds=2, labels=[50, None], baselines=[]).cells()))
        12
    """

    arms: Sequence[Arm] = ("pretrained", "random", "probe")
    seeds: int = 5
    labels: Sequence[int | None] = (None,)
    baselines: Sequence[str] = tuple(BASELINES)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"compare.seeds must be >= 1, but got {self.seeds}. At least 3 are needed for an answer.")
        for name in ("arms", "labels"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ConfigError(f"compare.{name} must name something, each once, but is {list(values)}.")
        for name in self.baselines:
            if name not in BASELINES:
                raise ConfigError(f"compare.baselines are {', '.join(BASELINES)}, but got {name!r}.")

    def cells(self) -> Iterator[tuple[int, int | None, str]]:
        """Every (seed, labels, arm or baseline)."""
        for seed in range(self.seeds):
            for labels in self.labels:
                yield from ((seed, labels, arm) for arm in (*self.arms, *self.baselines))


def compare(experiment: Experiment, comparison: Comparison, out: Path) -> dict[str, Any]:
    """Run what is missing of a comparison, and sum it up.

    Cells that finished before are not run again: a comparison that was stopped goes on, and of a larger one only what
    is new is run.

    Args:
        experiment: What every arm shares; its seed and label budget are set by the comparison.
        comparison: Arms, seeds, label budgets and baselines.
        out: The directory of the comparison, which exists.

    Returns:
        The summary, as in ``summary.json``.

    Raises:
        ConfigError: If the data have no classes, or the experiment is for several processes.
    """
    if not experiment.has_classifier:
        raise ConfigError("a comparison needs classes and finetune.epochs >= 1. Use data with labels.")
    if experiment.trainer.devices not in (1, "1") or experiment.trainer.num_nodes != 1:
        raise ConfigError("a comparison trains one cell at a time on one device. Set trainer.devices to 1.")
    experiment = replace(experiment, tracking=settle_mode(experiment.tracking))
    rows = []
    for seed, labels, arm in comparison.cells():
        rows.append(run_cell(_with(experiment, seed, labels), arm, out / "runs"))
        _write_rows(out / "results.csv", rows)
    summary = summarize(rows, comparison, test_examples=len(experiment.data.splits().test))
    write_json(out / "summary.json", summary)
    log_comparison(experiment.tracking, out, summary, rows)
    return summary


def _with(experiment: Experiment, seed: int, labels: int | None) -> Experiment:
    """The experiment with another seed and label budget, on the same data in memory."""
    experiment.data.source()
    data = copy.copy(experiment.data)
    data.labels = labels
    return replace(experiment, data=data, seed=seed)


def run_cell(experiment: Experiment, arm: str, runs: Path) -> dict[str, Any]:
    """One cell: from its files if it finished before, else trained now.

    Args:
        experiment: With the cell's seed and label budget.
        arm: An arm or a baseline.
        runs: The directory of all cells; each has a run directory of its own.

    Returns:
        The cell's row of ``results.csv``.
    """
    seed, labels = experiment.seed, experiment.data.labels
    folder = runs / f"{arm}-{'all' if labels is None else labels}-seed{seed}"
    finished = folder / "row.json"
    if finished.is_file():
        return read_json(finished)
    encoder_folder = None if arm in ("random", *BASELINES) else pretrain_once(experiment, runs)
    _start_afresh(folder)
    if arm in BASELINES:
        measured = measure_baseline(arm, experiment.data.splits(seed))
        row = {**measured, "epochs": None, "steps": None}
    else:
        row = _fine_tune(experiment, arm, folder, encoder_folder)
    row = {"arm": arm, "seed": seed, "labels": "all" if labels is None else labels, **row}
    write_json(finished, row)
    say(
        f"{arm}  {row['labels']} labels  seed {seed}  validation {row['validation_accuracy']:.2%}  "
        f"test {row['test_accuracy']:.2%}"
    )
    return read_json(finished)


def pretrain_once(experiment: Experiment, runs: Path) -> Path:
    """The encoder of this seed, pretrained now unless it was before: label budgets and arms share it."""
    folder = runs / f"pretraining-seed{experiment.seed}"
    if not (folder / "results.json").is_file():
        _start_afresh(folder)
        with open_pretraining(experiment.tracking, folder, experiment.seed) as run:
            _, results = experiment.pretrain_stack(folder, run=run)
            run.log_outcome(results, encoder=folder / "encoder")
        write_json(folder / "results.json", results)
    return folder / "encoder"


def _fine_tune(experiment: Experiment, arm: str, folder: Path, encoder_folder: Path | None) -> dict[str, Any]:
    pretrained = None if encoder_folder is None else load_encoder(encoder_folder)
    encoder = experiment.build_stack().encoder if pretrained is None else copy.deepcopy(pretrained)
    if arm == "probe":
        make = experiment.classifier
        experiment = replace(experiment, classifier=lambda f, classes: make(f, classes, freeze_encoder=True))
    tracking, seed, labels = experiment.tracking, experiment.seed, experiment.data.labels
    with open_cell(tracking, folder, arm=arm, seed=seed, labels=labels, encoder=encoder_folder) as run:
        _, results = experiment.classify(encoder, folder, pretrained=pretrained, run=run)
        outcome = {"stages": [], "classifier": results, "seed": seed}
        run.log_outcome(outcome)
    write_json(folder / "results.json", outcome)
    return {
        "validation_accuracy": results["validation"]["accuracy"],
        "test_accuracy": results["test"]["accuracy"],
        "epochs": results["epochs"],
        "steps": results["steps"],
        "seconds": results["seconds"],
        "hyperparameters": {},
    }


def _start_afresh(folder: Path) -> None:
    """Make the folder; what a cell left that did not finish is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "stages" / "classifier").mkdir(parents=True)
    (folder / "metrics.jsonl").touch()


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    partial_file = path.with_name(f"{path.name}.part")
    with partial_file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "hyperparameters": _words(row["hyperparameters"])} for row in rows)
    partial_file.replace(path)


def _words(settings: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def summarize(rows: Sequence[dict[str, Any]], comparison: Comparison, *, test_examples: int) -> dict[str, Any]:
    """Means, spreads, paired differences and a verdict per label budget.

    Args:
        rows: Rows of ``results.csv``.
        comparison: What was compared.
        test_examples: Size of the test set.

    Returns:
        ``budgets``: per label budget the ``arms`` (mean and standard deviation over seeds, sampling error of the test
        set), the ``differences`` of every arm from ``random``, and the ``verdict`` on ``pretrained``.
    """
    budgets = []
    for labels in comparison.labels:
        name = "all" if labels is None else labels
        accuracies = {
            arm: [row["test_accuracy"] for row in rows if (row["arm"], row["labels"]) == (arm, name)]
            for arm in (*comparison.arms, *comparison.baselines)
        }
        budget: dict[str, Any] = {
            "labels": name,
            "arms": {arm: _spread(values, test_examples) for arm, values in accuracies.items()},
            "differences": {},
            "verdict": None,
        }
        if "random" in accuracies:
            for arm in comparison.arms:
                if arm != "random":
                    difference = paired_difference(accuracies[arm], accuracies["random"])
                    budget["differences"][f"{arm} - random"] = asdict(difference)
                    if arm == "pretrained":
                        budget["verdict"] = verdict(difference, f"{name} labels")
        budgets.append(budget)
    return {"seeds": comparison.seeds, "test_examples": test_examples, "budgets": budgets}


def _spread(accuracies: Sequence[float], examples: int) -> dict[str, Any]:
    mean = float(np.mean(accuracies))
    return {
        "mean": mean,
        "std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else math.nan,
        "sampling_error": sampling_error(mean, examples),
        "seeds": len(accuracies),
    }
