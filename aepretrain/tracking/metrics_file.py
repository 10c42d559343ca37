"""``metrics.jsonl``: every scalar of a run, one row each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.storage.files import append_whole
from aepretrain.storage.json_files import finite


class MetricsFile(Logger):
    """Logger that appends rows ``{"stage", "epoch", "step", "name", "value"}`` to a JSON Lines file.

    Args:
        path: The file; rows are appended, so that all stages of a run share it.
        stage: The stage that every row names.
    """

    def __init__(self, path: Path, stage: str) -> None:
        super().__init__()
        self.path = path
        self.stage = stage
        self._epoch = 0

    @property
    def name(self) -> str:
        return self.stage

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The run's config is in ``config.yaml``; here are scalars only."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row per scalar. Lightning hands the epoch over as one of them.

        Raises:
            StorageError: If the rows cannot be written; the file is as it was.
        """
        self._epoch = int(metrics.get("epoch", self._epoch))
        rows = [
            {"stage": self.stage, "epoch": self._epoch, "step": step, "name": name, "value": finite(float(value))}
            for name, value in metrics.items()
            if name != "epoch"
        ]
        append_whole(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
