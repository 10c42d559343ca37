"""``metrics.jsonl``: every scalar of a run, one row each."""

import json
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.storage.files import append_atomically
from aepretrain.storage.json_files import finite
from aepretrain.tracking.stage_logger import StageLogger


class MetricsFile(StageLogger):
    """Logger that appends rows ``{"stage", "epoch", "step", "name", "value"}`` to a JSON Lines file.

    Args:
        path: The file. Rows are appended, so all stages of a run share it.
        stage: The stage, written to every row.
    """

    def __init__(self, path: Path, stage: str) -> None:
        super().__init__(stage)
        self.path = path
        self._epoch = 0

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row per scalar. Lightning passes the epoch as one of the metrics.

        Raises:
            StorageError: If the rows cannot be written; the file is unchanged.
        """
        self._epoch = int(metrics.get("epoch", self._epoch))
        rows = [
            {"stage": self.stage, "epoch": self._epoch, "step": step, "name": name, "value": finite(float(value))}
            for name, value in metrics.items()
            if name != "epoch"
        ]
        append_atomically(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
