"""What a run has committed, so that it can go on after any interruption: ``state.json`` and the files of its stages."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from aepretrain.errors import ConfigError, DivergedError, StoppedError, StorageError
from aepretrain.processes import is_first_process
from aepretrain.results.stage import StageRecord
from aepretrain.storage.files import make_folder, sha256_of, storing, write_whole
from aepretrain.storage.weight_files import read_weights, write_weights

METRICS, STATE = "metrics.jsonl", "state.json"
WEIGHTS, RECORD = "model.safetensors", "record.json"
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class RunState:
    """The commit record of a run: its status, the stages with theirs, and the SHA-256 of what they left.

    A stage is ``running``, then ``trained`` when its weights and its record are on the disk, then ``finished`` when
    its pictures are too. The file is read whenever it is asked, and replaced whole by the first process alone.

    Args:
        out: The run directory.

    Example:
        >>> import tempfile
        >>> state = RunState(Path(tempfile.mkdtemp()))
        >>> state.begin("00-sparse")
        >>> state.stage("00-sparse")["status"]
        'running'
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / STATE

    def read(self) -> dict[str, Any]:
        """The record; an empty one where there is none yet.

        Raises:
            StorageError: If the file is damaged.
        """
        try:
            state = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"status": "new", "stages": {}}
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.path} cannot be read: {error}. Start the run again in a new --out.") from error
        if not isinstance(state, dict) or not isinstance(state.get("stages"), dict):
            raise StorageError(f"{self.path} is no record of a run. Start the run again in a new --out.")
        return state

    @property
    def status(self) -> str:
        """``new``, ``running``, ``finished``, ``stopped``, ``diverged`` or ``failed``."""
        return str(self.read()["status"])

    def stage(self, stage: str) -> dict[str, Any]:
        """The entry of a stage; empty where it has not begun."""
        entry = self.read()["stages"].get(stage, {})
        return dict(entry)

    def begin(self, stage: str) -> None:
        """Record that a stage starts from its beginning, and where its rows of the metrics begin."""
        self._update(
            stage, {"status": "running", "metrics_bytes": self.metrics_bytes(), "checkpoints": []}, afresh=True
        )

    def record_checkpoint(self, stage: str, digest: str) -> None:
        """Record the SHA-256 of a checkpoint that is about to take its place, beside those that it moves on."""
        known = self.stage(stage).get("checkpoints", [])
        self._update(stage, {"checkpoints": [digest, *known][:3]})

    def trained(self, stage: str, files: dict[str, str]) -> None:
        """Record that a stage's weights and record are on the disk: their SHA-256 by name."""
        self._update(stage, {"status": "trained", "files": files, "checkpoints": []})

    def finish(self, stage: str) -> None:
        """Record that a stage left everything it has to leave."""
        self._update(stage, {"status": "finished"})

    def set_status(self, status: str) -> None:
        """Record what has become of the run."""
        if is_first_process():
            self._write({**self.read(), "status": status})

    @contextlib.contextmanager
    def recording_outcome(self) -> Iterator[None]:
        """Record how the block ends: ``finished``, ``stopped``, ``diverged`` or ``failed``; until then ``running``."""
        self.set_status("running")
        try:
            yield
        except BaseException as error:
            # The error that ended the run is to be told, not that its end could not be written down.
            with contextlib.suppress(StorageError):
                self.set_status(_name_of(error))
            raise
        self.set_status("finished")

    def metrics_bytes(self) -> int:
        """The length of the metrics file."""
        path = self.out / METRICS
        return path.stat().st_size if path.is_file() else 0

    def truncate_metrics(self, length: int) -> None:
        """Cut the metrics file back to what a checkpoint knows; later rows are written again."""
        path = self.out / METRICS
        if is_first_process() and path.is_file() and path.stat().st_size > length:
            with storing(path, 0):
                os.truncate(path, length)

    def _update(self, stage: str, values: dict[str, Any], *, afresh: bool = False) -> None:
        if is_first_process():
            state = self.read()
            state["stages"][stage] = values if afresh else {**state["stages"].get(stage, {}), **values}
            self._write(state)

    def _write(self, state: dict[str, Any]) -> None:
        write_whole(self.path, (json.dumps(state, indent=2) + "\n").encode())


def _name_of(error: BaseException) -> str:
    if isinstance(error, StoppedError | KeyboardInterrupt):
        return "stopped"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def check_name(stage: str) -> None:
    """Raise a ConfigError where the name of a stage could lead out of the run directory.

    Example:
        >>> check_name("00-denoising")
    """
    if not re.fullmatch(r"\w[\w.-]*", stage):
        raise ConfigError(
            f"a stage's name names a folder, so it has letters, digits, '_', '-' and '.' alone, but is {stage!r}. It "
            "comes from the name of the layer's class: rename that."
        )


class StageFiles:
    """The files of one stage of a run: weights, record and checkpoints.

    Args:
        out: The run directory.
        stage: The stage's name, which names a folder.

    Raises:
        ConfigError: If the name would lead out of the run directory.
    """

    def __init__(self, out: Path, stage: str) -> None:
        check_name(stage)
        self.state = RunState(out)
        self.stage = stage
        self.folder = out / "stages" / stage

    def begin(self, *, resume: bool) -> None:
        """Start from the beginning: what an earlier try left of this stage is dropped.

        Args:
            resume: Whether that try belongs to the same run, and its rows of the metrics are to go, too.
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
        """The record of a stage that was trained before, with its weights put into the module; else ``None``.

        Raises:
            StorageError: If a file is missing or is not what was written.
        """
        if not self.is_trained:
            return None
        if is_first_process():
            self._drop_checkpoints()  # a kill may have come before they went
        for name, digest in self.state.stage(self.stage)["files"].items():
            path = self.folder / name
            if not path.is_file() or sha256_of(path) != digest:
                raise StorageError(f"{path} is missing or is not what was written. Start the run again in a new --out.")
        read_weights(self.folder / WEIGHTS, module)
        kept = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return StageRecord(**kept["record"])

    def commit(self, module: nn.Module, record: StageRecord) -> None:
        """Write weights and record, and only then record the stage as trained; its checkpoints have served.

        Raises:
            StorageError: If a file cannot be written.
        """
        write_weights(self.folder / WEIGHTS, module)
        write_whole(self.folder / RECORD, (json.dumps({"record": asdict(record)}) + "\n").encode())
        self.state.trained(self.stage, {name: sha256_of(self.folder / name) for name in (WEIGHTS, RECORD)})
        self._drop_checkpoints()

    def _drop_checkpoints(self) -> None:
        with storing(self.folder, 0):
            for name in (LAST, PREVIOUS):
                (self.folder / name).unlink(missing_ok=True)
