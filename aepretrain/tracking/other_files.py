"""Loggers that write the scalars of a stage as a CSV table or as TensorBoard events."""

import csv
import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.storage.files import append_atomically, make_folder, write_atomically
from aepretrain.storage.json_files import finite
from aepretrain.tracking.metrics_file import read_metrics
from aepretrain.tracking.stage_logger import StageLogger


class CSVFile(StageLogger):
    """Logger that writes a stage's rows of ``metrics.jsonl`` as a CSV table when the stage ends.

    It keeps no state, so a resumed run writes the same table as an uninterrupted one. Lightning's ``CSVLogger`` removes
    the rows written before.

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
        """Do nothing: the scalars are already in ``metrics.jsonl``."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table atomically, if the stage succeeded.

        Raises:
            StorageError: If the table cannot be written.
        """
        if status != "success" or not self.metrics.is_file():
            return
        table: dict[tuple[int, int | None], dict[str, Any]] = {}
        for row in read_metrics(self.metrics):
            if row.stage == self.stage:
                place = {"epoch": row.epoch, "step": row.step}
                table.setdefault((row.epoch, row.step), place)[row.name] = finite(row.value)
        names = sorted({name for row in table.values() for name in row} - {"epoch", "step"})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["epoch", "step", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.values())
        make_folder(self.path.parent)
        write_atomically(self.path, text.getvalue().encode())


class TensorBoardEvents(StageLogger):
    """Logger that appends scalars to a TensorBoard event file, the events of one call completely or not at all.

    Lightning's ``TensorBoardLogger`` writes in a thread, which ends with a traceback if the disk is full.

    Args:
        folder: Folder of the event file; every start of a stage creates a new file.
        stage: The stage.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        super().__init__(stage)
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one event per scalar.

        Raises:
            StorageError: If the events cannot be written; the file is unchanged.
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
        append_atomically(self.path, buffer.getvalue())
