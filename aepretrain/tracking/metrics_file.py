"""``metrics.jsonl``: every scalar of a run, one row each."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.errors import StorageError
from aepretrain.results.records import from_plain
from aepretrain.storage.files import append_atomically
from aepretrain.storage.guard import read_text
from aepretrain.storage.json_files import AGAIN, finite, parse_json, reason_of
from aepretrain.tracking.stage_logger import StageLogger


@dataclass(frozen=True)
class MetricsRow:
    """A row of ``metrics.jsonl``.

    Args:
        stage: The stage.
        epoch: The epoch, counted from 0.
        step: Completed optimizer steps of the stage; ``None`` if the logger was told none.
        name: Name of the metric.
        value: Its value; NaN if it is not finite.
    """

    stage: str
    epoch: int
    step: int | None
    name: str
    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            object.__setattr__(self, "value", math.nan)


def read_metrics(path: Path) -> list[MetricsRow]:
    """Read ``metrics.jsonl``. A last row that was cut off when the run was killed is left out.

    Raises:
        StorageError: If the file is missing or damaged; the message names the line.
    """
    rows: list[MetricsRow] = []
    try:
        for line in read_text(path).split("\n")[:-1]:
            rows.append(from_plain(MetricsRow, parse_json(line)))
    except (OSError, ValueError, MemoryError) as error:
        raise StorageError(f"{path} cannot be read: line {len(rows) + 1}: {reason_of(error)}. {AGAIN}") from error
    return rows


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
