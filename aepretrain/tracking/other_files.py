"""Loggers that write the scalars of a stage in other forms: a table, TensorBoard's events."""

import contextlib
import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.storage.files import make_folder, storing, write_whole


class CSVFile(Logger):
    """Logger that leaves a table of a stage, made of its rows of ``metrics.jsonl`` when the stage closes.

    It keeps nothing of its own, so the table of a run that was resumed is that of an undisturbed one. Lightning's
    ``CSVLogger`` removes the rows that were written before.

    Args:
        path: The table: one row per epoch and step, one column per scalar.
        metrics: The file ``metrics.jsonl``.
        stage: The stage.
    """

    def __init__(self, path: Path, metrics: Path, stage: str) -> None:
        super().__init__()
        self.path = path
        self.metrics = metrics
        self.stage = stage

    @property
    def name(self) -> str:
        return self.stage

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run's config is in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """The scalars are in ``metrics.jsonl`` already."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table whole or not at all.

        Raises:
            StorageError: If it cannot be written.
        """
        if status != "success" or not self.metrics.is_file():
            return
        table: dict[tuple[int, int], dict[str, Any]] = {}
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["stage"] == self.stage:
                place = {"epoch": row["epoch"], "step": row["step"]}
                table.setdefault((row["epoch"], row["step"]), place)[row["name"]] = row["value"]
        names = sorted({name for row in table.values() for name in row} - {"epoch", "step"})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", "step", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.values())
        make_folder(self.path.parent)
        write_whole(self.path, text.getvalue().encode())


class TensorBoardEvents(TensorBoardLogger):
    """Lightning's logger, which tells in one line what the system refuses to write.

    Events may be lost where the disk is full: ``metrics.jsonl`` has them all.
    """

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The run's config is in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with storing(Path(self.log_dir), 0):
            super().log_metrics(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        with storing(Path(self.log_dir), 0):
            super().save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        # Of a run that failed, the error that ended it is to be told.
        failed = contextlib.nullcontext() if status == "success" else contextlib.suppress(OSError)
        with failed, storing(Path(self.log_dir), 0):
            super().finalize(status)
