"""Loggers that write the scalars of a stage in other forms: a table, TensorBoard's events."""

import csv
import io
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.storage.files import append_whole, make_folder, write_whole
from aepretrain.tracking.stage_logger import StageLogger


class CSVFile(StageLogger):
    """Logger that leaves a table of a stage, made of its rows of ``metrics.jsonl`` when the stage closes.

    It keeps nothing of its own, so the table of a run that was resumed is that of an undisturbed one. Lightning's
    ``CSVLogger`` removes the rows that were written before.

    Args:
        path: The table: one row per epoch and step, one column per scalar.
        metrics: The file ``metrics.jsonl``.
        stage: The stage.
    """

    def __init__(self, path: Path, metrics: Path, stage: str) -> None:
        super().__init__(stage)
        self.path = path
        self.metrics = metrics

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


class TensorBoardEvents(StageLogger):
    """Logger that appends scalars to a file of TensorBoard's events, each whole or not at all.

    Lightning's ``TensorBoardLogger`` writes in a thread, which a full disk ends with a traceback.

    Args:
        folder: Where the file lies; every start of a stage has a file of its own.
        stage: The stage.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        super().__init__(stage)
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one event per scalar.

        Raises:
            StorageError: If they cannot be written; the file is as it was.
        """
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        buffer = io.BytesIO()
        records = RecordWriter(buffer)
        if not self.path.exists():
            make_folder(self.path.parent)
            records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        for name, value in metrics.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=float(value))])
            records.write(Event(wall_time=time.time(), step=step or 0, summary=summary).SerializeToString())
        append_whole(self.path, buffer.getvalue())
