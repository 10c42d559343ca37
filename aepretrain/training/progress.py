"""Progress display: a bar with the time left for each stage; in a file or a pipe, occasional lines."""

import time
from collections.abc import Mapping
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from aepretrain.console import console, format_duration, log
from aepretrain.processes import is_first_process

REFRESH_SECONDS = 0.2
LINE_SECONDS = 10.0


class StageProgress:
    """A progress bar over a stage's steps, with the time left; in a file or pipe, a line at most every ten seconds.

    Args:
        stage: The stage's name.
        epochs: Maximum number of epochs.
        steps: Steps per epoch.
        show: The validation figure to show, such as ``val/reconstruction``.
        first_epoch: The epoch at which the stage starts or resumes.
        is_shown: Whether the first process shows progress; the others show none.
    """

    def __init__(
        self, stage: str, epochs: int, steps: int, show: str, *, first_epoch: int = 0, is_shown: bool = True
    ) -> None:
        self.stage = stage
        self.epochs = epochs
        self.steps = steps
        self.show = show
        self.first_epoch = first_epoch
        self.is_shown = is_shown and is_first_process()
        self.bar: Progress | None = None
        self._next_refresh = 0.0

    def __enter__(self) -> Self:
        self._start = self._last_line = time.perf_counter()
        if self.is_shown and console.is_terminal:
            # Fits 80 columns: the bar is short, and the last column is the first to be cut.
            columns = ("{task.description}", BarColumn(10), "{task.percentage:>3.0f} %", TextColumn("left"))
            figures = TextColumn("{task.fields[figures]}")
            self.bar = Progress(*columns, TimeRemainingColumn(), figures, console=console, transient=True)
            self.task = self.bar.add_task(self.stage, total=self.epochs * self.steps, figures="")
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, step: int) -> None:
        """Update the bar with the number of completed steps."""
        if self.bar and time.perf_counter() > self._next_refresh:
            self._next_refresh = time.perf_counter() + REFRESH_SECONDS
            self.bar.update(self.task, completed=step)

    def close_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Show the metrics of an epoch."""
        if not self.is_shown:
            return
        done = epoch + 1
        names = [name for name in ("train/loss", self.show) if name in metrics]
        figures = f"{done}/{self.epochs} epochs  " + "  ".join(f"{name} {metrics[name]:.4g}" for name in names)
        short = f"{done}/{self.epochs} epochs"
        if self.show in metrics:
            short += f"  {self.show.removeprefix('val/')} {metrics[self.show]:.4g}"
        log.debug("%s  %s", self.stage, figures)
        now = time.perf_counter()
        if self.bar:
            self.bar.update(self.task, completed=done * self.steps, figures=short)
        elif now - self._last_line > LINE_SECONDS:
            self._last_line = now
            left = (now - self._start) / (done - self.first_epoch) * (self.epochs - done)
            console.print(f"{self.stage}  {figures}  left {format_duration(left)}", markup=False)
