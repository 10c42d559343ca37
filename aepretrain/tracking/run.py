"""A run and its loggers."""

import contextlib
import math
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from aepretrain.console import print_line
from aepretrain.processes import is_first_process
from aepretrain.results.records import to_plain
from aepretrain.results.run import RunResult
from aepretrain.storage.guard import inside
from aepretrain.tracking.metrics_file import MetricsFile, read_metrics
from aepretrain.tracking.options import Tracking
from aepretrain.tracking.other_files import CSVFile, TensorBoardEvents
from aepretrain.tracking.wandb_environment import with_environment
from aepretrain.tracking.wandb_mode import decided_mode
from aepretrain.tracking.wandb_run import WandbMetrics, WandbRun, key_prefix


class TrackedRun:
    """A run whose metrics, pictures and files are sent to the selected loggers.

    Args:
        folder: The run directory.
        tracking: The loggers of the run.
        wandb: The run in Weights & Biases, or ``None``.

    Example:
        >>> [type(logger).__name__ for logger in TrackedRun(Path("runs/a"), Tracking(["csv"])).loggers("00-plain")]
        ['MetricsFile', 'CSVFile']
    """

    def __init__(self, folder: Path, tracking: Tracking, wandb: WandbRun | None = None) -> None:
        self.folder = folder
        self.tracking = tracking
        self.wandb = wandb

    def loggers(self, stage: str) -> list[Logger]:
        """The loggers of a stage: ``metrics.jsonl`` first, then the selected ones."""
        metrics = self.folder / "metrics.jsonl"
        make: dict[str, Callable[[str], Logger]] = {
            "wandb": partial(WandbMetrics, self.wandb),
            "tensorboard": lambda stage: TensorBoardEvents(inside(self.folder, "tensorboard", stage), stage),
            "csv": lambda stage: CSVFile(inside(self.folder, "csv", stage) / "metrics.csv", metrics, stage),
        }
        names = [name for name in self.tracking.loggers if name != "wandb" or self.wandb is not None]
        return [MetricsFile(metrics, stage), *(make[name](stage) for name in names)]

    def replay(self) -> None:
        """Send the rows of ``metrics.jsonl`` to the other loggers, after training has ended."""
        rows = read_metrics(self.folder / "metrics.jsonl")
        places = groupby(rows, key=lambda row: (row.stage, row.epoch, row.step))
        followers: dict[str, list[Logger]] = {}
        for (stage, epoch, step), group in places:
            values = {row.name: row.value for row in group if not math.isnan(row.value)}
            if stage not in followers:
                followers[stage] = self.loggers(stage)[1:]
            for logger in followers[stage]:
                logger.log_metrics({**values, "epoch": epoch}, step)
        for logger in chain(*followers.values()):
            logger.finalize("success")

    def log_outcome(self, results: RunResult, *, encoder: Path | None = None) -> None:
        """Log the results and pictures of the run, and its encoder if given."""
        self.log_results(results)
        self.log_pictures()
        if encoder is not None:
            self.log_encoder(encoder)

    def log_results(self, results: RunResult) -> None:
        """Set the run's summary from its results."""
        if self.wandb is not None:
            self.wandb.summarize(summary_of(results))

    def log_figures(self, figures: Mapping[str, Any]) -> None:
        """Set values in the run's summary; nested keys become ``outer/inner``."""
        if self.wandb is not None:
            self.wandb.summarize(flatten(figures))

    def log_pictures(self) -> None:
        """Log the pictures of all stages under the stages' key prefixes, and those in ``pictures/``."""
        if self.wandb is None:
            return
        for stage in sorted((self.folder / "stages").glob("*/")):
            prefix = key_prefix(stage.name)
            self.wandb.log_pictures({f"{prefix}/{path.stem}": path for path in sorted(stage.glob("*.png"))})
        pictures = sorted((self.folder / "pictures").glob("*.png"))
        self.wandb.log_pictures({f"pictures/{path.stem}": path for path in pictures})

    def log_encoder(self, folder: Path) -> None:
        """Log a saved encoder as an artifact."""
        if self.wandb is not None:
            self.wandb.log_encoder(folder)

    def log_table(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log rows as a table with the columns of the first row; values of other types become text."""
        if self.wandb is not None and rows:
            columns = list(rows[0])
            self.wandb.log_table(key, columns, [[_shown(row.get(name)) for name in columns] for row in rows])

    def publish_report(self) -> None:
        """Build a report in Weights & Biases, if requested."""
        if not self.tracking.wandb.report:
            return
        if self.wandb is None:
            print_line("W&B: no report, because nothing is logged to W&B")
        else:
            self.wandb.publish_report()

    def print_wandb_links(self, folders: str | None = None) -> None:
        """Print the run's URL, or the ``wandb sync`` command that uploads an offline run.

        Args:
            folders: Folders to sync; ``None``: this run alone.
        """
        if self.wandb is None or self.wandb.run is None:
            return
        if self.wandb.mode == "online":
            print_line(f"W&B: {self.wandb.run.url}")
        else:
            print_line(f"W&B: to send it later, wandb sync {folders or shlex.quote(str(self.wandb.sync_folder))}")


@contextlib.contextmanager
def open_run(
    tracking: Tracking,
    folder: Path,
    *,
    job_type: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> Iterator[TrackedRun]:
    """Track a run from its first to its last stage.

    Weights & Biases is imported only if selected, and its failures never stop the run.

    Args:
        tracking: The loggers of the run.
        folder: The existing run directory.
        job_type: ``fit``, an arm, ``pretraining`` or ``summary``.
        group: Group of a comparison's runs; the setting ``wandb.group`` takes precedence.
        tags: Tags of the run.
        facts: Entries added to the settings for this run, such as its arm and seed.

    Example:
        >>> with open_run(Tracking(loggers=[]), Path("runs/a"), job_type="fit") as run:
        ...     [type(logger).__name__ for logger in run.loggers("00-plain")]
        ['MetricsFile']
    """
    run = TrackedRun(folder, tracking, _start_wandb(tracking, folder, job_type, group, tags, facts or {}))
    try:
        yield run
    except BaseException:
        if run.wandb is not None:
            run.wandb.finish(exit_code=1)
            if job_type == "fit":  # a comparison tells of all its runs at once
                run.print_wandb_links()
        raise
    if run.wandb is not None:
        run.wandb.finish()


def _start_wandb(
    tracking: Tracking, folder: Path, job_type: str, group: str | None, tags: Sequence[str], facts: Mapping[str, Any]
) -> WandbRun | None:
    if "wandb" not in tracking.loggers or not is_first_process():
        return None
    if (mode := decided_mode(tracking.wandb.mode)) == "disabled":
        return None
    options = with_environment(tracking.wandb, os.environ, single=job_type == "fit")
    return WandbRun(
        folder,
        options,
        mode=mode,
        name=(options.name if job_type == "fit" else None) or folder.name,
        job_type=job_type,
        group=options.group or group,
        tags=tags,
        config={**tracking.config, **facts},
    )


def summary_of(results: RunResult) -> dict[str, Any]:
    """The scalar results of a run, with key prefixes that match its curves.

    Example:
        >>> from aepretrain.results.run import DataFacts
        >>> from aepretrain.results.stage import StageLosses, StageResult
        >>> stage = StageResult(
        ...     stage="00-plain", variant="plain", in_shape=(64,), code_shape=(16,), epochs=2, kept_epoch=1, steps=9,
        ...     seconds=0.5, losses=StageLosses(4.0, 3.5, 3.5), diagnostics={"dead_units": 1.0},
        ... )
        >>> data = DataFacts("Digits", (64,), 10, unlabelled=1197, labelled=50, validation=300, test=300)
        >>> found = summary_of(RunResult((stage,), None, data, {}, seed=0, device="cpu", processes=1))
        >>> found["00-plain/epochs"], found["00-plain/validation"], found["00-plain/dead_units"]
        (2, 3.5, 1.0)
    """
    figures: dict[str, Any] = {}
    for stage in results.stages:
        own = {name: value for name, value in to_plain(stage).items() if name not in ("stage", "losses", "diagnostics")}
        figures.update(flatten({key_prefix(stage.stage): {**own, **to_plain(stage.losses), **stage.diagnostics}}))
    if results.reconstruction is not None:
        found = to_plain(results.reconstruction)
        figures.update(flatten({"reconstruction": found}))
        if results.head is None:
            figures.update(flatten({split: found[split] for split in ("validation", "test")}))
    if results.head is not None:
        own = to_plain(results.head)
        figures.update(flatten({split: own.pop(split) for split in ("validation", "test")}))
        figures.update(flatten({"finetune": own}))
    return figures


def flatten(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested values into one dictionary; lists and ``None`` are left out.

    Example:
        >>> flatten({"a": {"b": 1, "c": {"d": 2.5}}, "e": [1, 2]})
        {'a/b': 1, 'a/c/d': 2.5}
    """
    flat: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}/{inner}": entry for inner, entry in flatten(value).items()})
        elif isinstance(value, int | float | str):
            flat[str(name)] = value
    return flat


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)
