"""The files of one stage of a run: weights, record and checkpoints."""

import json
from dataclasses import asdict
from pathlib import Path

from torch import nn

from aepretrain.errors import StorageError
from aepretrain.processes import is_first_process
from aepretrain.results.records import from_plain
from aepretrain.results.stage import StageRecord
from aepretrain.storage.files import make_folder, sha256_of, storing, write_atomically
from aepretrain.storage.guard import inside
from aepretrain.storage.json_files import read_json
from aepretrain.storage.weight_files import read_weights, write_weights
from aepretrain.training.recovery.run_state import ANEW, LAST, PREVIOUS, RECORD, WEIGHTS, RunState, check_name


def read_stage_record(path: Path) -> StageRecord:
    """Read the record of a trained stage.

    Raises:
        StorageError: If the file is missing or damaged.
    """
    kept = read_json(path, ANEW)
    try:
        return from_plain(StageRecord, kept.get("record") if isinstance(kept, dict) else None)
    except ValueError as error:
        raise StorageError(f"{path} cannot be read: {error}. {ANEW}") from error


class StageFiles:
    """The files of one stage of a run: weights, record and checkpoints.

    Args:
        out: The run directory.
        stage: The stage's name, which is also its folder's name.

    Raises:
        ConfigError: If the name would lead out of the run directory.
        StorageError: If its folder is a link.
    """

    def __init__(self, out: Path, stage: str) -> None:
        check_name(stage)
        self.state = RunState(out)
        self.stage = stage
        self.folder = inside(out, "stages", stage)

    def begin(self, *, resume: bool) -> None:
        """Start from the beginning: reset the stage's record, and delete the checkpoints of an earlier attempt.

        Args:
            resume: Whether that attempt belongs to the same run; its rows are then cut from the metrics file.
        """
        entry = self.state.stage(self.stage)
        if resume and "metrics_bytes" in entry:
            self.state.truncate_metrics(entry["metrics_bytes"])
        make_folder(self.folder)
        self._drop_checkpoints()
        self.state.begin(self.stage)

    @property
    def is_trained(self) -> bool:
        """Whether the stage's weights and record are on the disk."""
        return self.state.stage(self.stage).get("status") in ("trained", "finished")

    def load(self, module: nn.Module) -> StageRecord | None:
        """Load the weights of a trained stage into the module and return its record; else return ``None``.

        Raises:
            StorageError: If a file is missing or damaged.
        """
        if not self.is_trained:
            return None
        if is_first_process():
            self._drop_checkpoints()  # a kill may have come before they went
        self._check_files()
        read_weights(self.folder / WEIGHTS, module)
        return read_stage_record(self.folder / RECORD)

    def read(self, module: nn.Module) -> None:
        """Load the weights of a trained stage into a module of another run, and leave the folder as it is.

        Raises:
            StorageError: If the file is missing or is not what was written.
            ValueError: If the module has other weights; the message says what differs.
        """
        self._check_files(WEIGHTS)
        try:
            read_weights(self.folder / WEIGHTS, module)
        except StorageError as error:
            reason = " ".join(str(error.__cause__).split()) or "they have other names"
            raise ValueError(f"its own differ: {reason}") from error

    def _check_files(self, *names: str) -> None:
        """Compare the named files of a trained stage, or all of them, with their recorded SHA-256."""
        for name, digest in self.state.stage(self.stage)["files"].items():
            path = self.folder / name
            if name in (names or (name,)) and (not path.is_file() or sha256_of(path) != digest):
                raise StorageError(f"{path} is missing or is not what was written. {ANEW}")

    def commit(self, module: nn.Module, record: StageRecord, *, keep_last: bool = False) -> None:
        """Write weights and record, only then record the stage as trained, and delete its checkpoints.

        Args:
            module: The trained module.
            record: Its record.
            keep_last: Whether to keep the last checkpoint.

        Raises:
            StorageError: If a file cannot be written.
        """
        write_weights(self.folder / WEIGHTS, module)
        write_atomically(self.folder / RECORD, (json.dumps({"record": asdict(record)}) + "\n").encode())
        files = {name: sha256_of(self.folder / name) for name in (WEIGHTS, RECORD)}
        self.state.trained(self.stage, files, keep_last=keep_last)
        self._drop_checkpoints()

    def _drop_checkpoints(self) -> None:
        """Delete the checkpoints of a stage; of a trained one, the last stays if it is recorded."""
        entry = self.state.stage(self.stage)
        is_kept = entry.get("status") in ("trained", "finished") and entry["checkpoints"]
        with storing(self.folder, 0):
            for name in (PREVIOUS,) if is_kept else (LAST, PREVIOUS):
                (self.folder / name).unlink(missing_ok=True)
