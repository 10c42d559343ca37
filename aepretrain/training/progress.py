"""Progress that a person can follow: a bar with the time left for each stage, one line when it closes."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from aepretrain.console import console, format_duration, log
from aepretrain.processes import is_first_process
from aepretrain.training.dispatches import Dispatches

REFRESH_SECONDS = 0.2
LINE_SECONDS = 10.0


class StageProgress(Callback):
    """A progress bar over all steps of a stage, with the time left; in a file or a pipe, a line every ten seconds.

    Args:
        stage: The stage's name.
        epochs: How many epochs it has at most.
        show: The validation figure to show, such as ``val/reconstruction``.
    """

    def __init__(self, stage: str, epochs: int, show: str) -> None:
        self.stage = stage
        self.epochs = epochs
        self.show = show
        self.bar: Progress | None = None
        self._next_refresh = 0.0

    @property
    def _live(self) -> bool:
        return is_first_process() and console.is_terminal

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = self._last_line = time.perf_counter()
        dispatches = trainer.train_dataloader
        assert isinstance(dispatches, Dispatches)
        self._steps, self._first_epoch = dispatches.steps, trainer.current_epoch
        if self._live:
            # Fits 80 columns: the bar is short, and the last column is the first to be cut.
            columns = ("{task.description}", BarColumn(10), "{task.percentage:>3.0f} %", TextColumn("left"))
            figures = TextColumn("{task.fields[figures]}")
            self.bar = Progress(*columns, TimeRemainingColumn(), figures, console=console, transient=True)
            self.task = self.bar.add_task(self.stage, total=self.epochs * self._steps, figures="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar and time.perf_counter() > self._next_refresh:
            self._next_refresh = time.perf_counter() + REFRESH_SECONDS
            self.bar.update(self.task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not is_first_process():
            return
        done, metrics = trainer.current_epoch + 1, trainer.callback_metrics
        names = [name for name in ("train/loss", self.show) if name in metrics]
        figures = f"epoch {done}/{self.epochs}  " + "  ".join(f"{name} {metrics[name].item():.4g}" for name in names)
        short = f"epoch {done}/{self.epochs}"
        if self.show in metrics:
            short += f"  {self.show.removeprefix('val/')} {metrics[self.show].item():.4g}"
        log.debug("%s  %s", self.stage, figures)
        now = time.perf_counter()
        if self.bar:
            self.bar.update(self.task, completed=done * self._steps, figures=short)
        elif now - self._last_line > LINE_SECONDS:
            self._last_line = now
            left = (now - self._start) / (done - self._first_epoch) * (self.epochs - done)
            console.print(f"{self.stage}  {figures}  left {format_duration(left)}", markup=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None
