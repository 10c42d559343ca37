"""A comparison in Weights & Biases: one group of runs and one summary run."""

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from aepretrain.console import print_line
from aepretrain.results.cell import CellResult, columns_of
from aepretrain.results.comparison import ComparisonResult
from aepretrain.results.records import to_plain
from aepretrain.tracking.options import Tracking
from aepretrain.tracking.run import TrackedRun, open_run
from aepretrain.tracking.wandb_environment import wandb_folder
from aepretrain.tracking.wandb_run import artifact_name


def open_pretraining(tracking: Tracking, folder: Path, seed: int) -> AbstractContextManager[TrackedRun]:
    """Open the tracked run of one seed's pretraining, which several cells share.

    Args:
        tracking: The loggers of the comparison.
        folder: The run directory, ``runs/NAME`` below the comparison's directory.
        seed: The seed.
    """
    tags = ["pretraining", f"seed-{seed}"]
    return open_run(tracking, folder, job_type="pretraining", group=_group_of(folder), tags=tags, facts={"seed": seed})


def open_cell(
    tracking: Tracking, folder: Path, *, arm: str, seed: int, labels: int | None, encoder: Path | None = None
) -> AbstractContextManager[TrackedRun]:
    """Open the tracked run of one cell: an arm, a seed and a label budget.

    Args:
        tracking: The loggers of the comparison.
        folder: The run directory, ``runs/NAME`` below the comparison's directory.
        arm: The arm, which is also the job type of the run; curves are grouped by it.
        seed: The seed.
        labels: The label budget; ``None`` is all labels.
        encoder: The ``encoder/`` folder that the cell starts from, if any; the config holds its artifact name.
    """
    facts = {"arm": arm, "seed": seed, "labels": labels}
    if encoder is not None:
        facts["encoder"] = artifact_name(tracking.wandb.group or _group_of(folder), encoder.parent.name)
    tags = [arm, f"seed-{seed}", f"labels-{'all' if labels is None else labels}"]
    return open_run(tracking, folder, job_type=arm, group=_group_of(folder), tags=tags, facts=facts)


def _group_of(folder: Path) -> str:
    """The name of the comparison's directory, given a run directory below its ``runs/``."""
    above = folder.absolute().parents
    return next((path.parent for path in above if path.name == "runs"), above[1]).name


def log_comparison(
    tracking: Tracking,
    folder: Path,
    summary: ComparisonResult,
    rows: Sequence[CellResult],
    *,
    draw: Callable[[], None] | None = None,
) -> None:
    """Log the summary of a comparison: a table of all rows, means, differences, verdicts and any pictures.

    Args:
        tracking: The loggers of the comparison.
        folder: The directory of the comparison.
        summary: The results of the comparison.
        rows: The results of all cells.
        draw: Draws the pictures, once everything else is logged; ``None``: there are none to draw.
    """
    with open_run(tracking, folder, job_type="summary", group=folder.absolute().name, tags=["summary"]) as run:
        # A table column has one type, but a label budget is a number or "all".
        values = [{**to_plain(row), "labels": str(row.labels)} for row in rows]
        run.log_table("results", [{name: row[name] for name in columns_of(rows)} for row in values])
        run.log_figures(scalar_metrics(summary))
        if draw is not None:
            draw()
        run.log_pictures()
        run.publish_report()
        run.print_wandb_links(_offline_runs(folder))


@contextlib.contextmanager
def name_offline_runs(tracking: Tracking, folder: Path) -> Iterator[None]:
    """If the comparison is interrupted in this block, print the command that uploads its offline runs.

    Args:
        tracking: The loggers of the comparison, with the mode resolved.
        folder: The directory of the comparison.
    """
    try:
        yield
    except BaseException:
        is_offline = "wandb" in tracking.loggers and tracking.wandb.mode == "offline"
        if is_offline and any(folder.glob("runs/*/wandb/run-id.txt")):
            print_line(f"W&B: to send it later, wandb sync {_offline_runs(folder)}")
        raise


def _offline_runs(folder: Path) -> str:
    """The folders of all offline runs of a comparison, as patterns for a shell."""
    if os.environ.get("WANDB_DIR"):
        return f"{shlex.quote(str(wandb_folder(folder)))}/offline-run-*"
    place = shlex.quote(str(folder))
    return f"{place}/wandb/offline-run-* {place}/runs/*/wandb/offline-run-*"


def scalar_metrics(summary: ComparisonResult) -> dict[str, Any]:
    """Facts of a comparison, with means, differences and verdicts by label budget.

    Example:
        >>> from aepretrain.results.comparison import ArmResult, BudgetResult
        >>> arms = {"random": ArmResult(0.8, 0.01, 0.02, 5)}
        >>> budget = BudgetResult(labels=50, arms=arms, differences={}, verdict="helps", best="random")
        >>> scalar_metrics(ComparisonResult("Digits", 5, 1, 300, 300, (budget,)))["labels-50"]
        {'random': {'mean': 0.8, 'std': 0.01, 'sampling_error': 0.02, 'seeds': 5}, 'verdict': 'helps'}
    """
    figures: dict[str, Any] = {name: value for name, value in to_plain(summary).items() if name != "budgets"}
    for budget in summary.budgets:
        verdicts = {
            "verdict": budget.verdict,
            "longer_verdict": budget.longer_verdict,
            "control_verdict": budget.control_verdict,
        }
        said = {name: words for name, words in verdicts.items() if words}
        figures[f"labels-{budget.labels}"] = {**to_plain(budget.arms), **to_plain(budget.differences), **said}
    for other in summary.also:
        figures[other.measures.name] = {
            name: value for name, value in scalar_metrics(other).items() if name.startswith("labels-")
        }
    return figures
