"""The commit record of a run, ``state.json``, from which it resumes after any interruption."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aepretrain.errors import ConfigError, DivergedError, StoppedError, StorageError
from aepretrain.processes import is_first_process
from aepretrain.results import records
from aepretrain.results.fingerprint import Fingerprint
from aepretrain.results.records import from_plain, to_plain
from aepretrain.storage.files import storing, write_atomically
from aepretrain.storage.guard import truncate
from aepretrain.storage.json_files import read_json

METRICS, STATE = "metrics.jsonl", "state.json"
WEIGHTS, RECORD = "model.safetensors", "record.json"
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
LAYER_STAGES = r"\d+-.*"
"""Pattern of the names of layers' stages."""
ANEW = "Start the run again in a new --out."


@dataclass(frozen=True)
class _Entry:
    """What ``state.json`` has of a stage."""

    status: Literal["running", "trained", "finished"]
    metrics_bytes: int = 0
    checkpoints: list[str] = field(default_factory=list)
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metrics_bytes < 0 or (self.status != "running" and set(self.files) != {WEIGHTS, RECORD}):
            raise ValueError(f"a stage that is {self.status} names files {sorted(self.files)}")


@dataclass(frozen=True)
class _Record:
    """``state.json``."""

    status: str
    stages: Mapping[str, Any]


class RunState:
    """The commit record of a run: its status, the status of its stages and the SHA-256 of their files.

    A stage is ``running``, then ``trained`` when its weights and its record are on the disk, then ``finished`` when
    its pictures are too. The file is read at every access, and replaced atomically by the first process only.

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
        """Read the record; return an empty one if there is none yet.

        Raises:
            StorageError: If the file cannot be read or is damaged.
        """
        if not self.path.exists():
            return {"status": "new", "stages": {}}
        state = read_json(self.path, ANEW)
        try:
            for stage, entry in from_plain(_Record, state).stages.items():
                check_name(stage)
                from_plain(_Entry, entry)
        except ValueError as error:
            raise StorageError(f"{self.path} is no record of a run: {error}. {ANEW}") from error
        return state

    @property
    def data(self) -> Fingerprint | None:
        """The fingerprint of the run's data; ``None`` if none is recorded.

        Raises:
            StorageError: If it is damaged.
        """
        try:
            return from_plain(Fingerprint, plain) if (plain := self.read().get("data")) is not None else None
        except ValueError as error:
            raise StorageError(f"{self.path}: data.{error}. {ANEW}") from error

    def record_data(self, data: Fingerprint) -> None:
        """Record the fingerprint of the run's data."""
        if is_first_process():
            self._write({**self.read(), "data": to_plain(data)})

    @property
    def status(self) -> str:
        """The run's status: ``new``, ``running``, ``finished``, ``stopped``, ``diverged`` or ``failed``."""
        return str(self.read()["status"])

    def stage(self, stage: str) -> dict[str, Any]:
        """Read the entry of a stage; return an empty one if it has not begun."""
        entry = self.read()["stages"].get(stage, {})
        return dict(entry)

    def check_unused(self, names: str) -> None:
        """See that the directory holds no stage of another run, with which this one would mix.

        The first process alone looks: soon it records stages of its own.

        Args:
            names: Pattern of the stages' names that this run uses.

        Raises:
            ConfigError: If it holds such a stage.
        """
        held = [stage for stage in self.read()["stages"] if re.fullmatch(names, stage)] if is_first_process() else []
        if held:
            raise ConfigError(
                f"{self.out} holds a run already, with {', '.join(held)}, and a run never mixes with another. Name a "
                "new directory, or give resume=True to go on with that run."
            )

    def begin(self, stage: str) -> None:
        """Record that a stage starts from its beginning, and where its metrics begin in the metrics file."""
        self._update(
            stage, {"status": "running", "metrics_bytes": self.metrics_bytes(), "checkpoints": []}, afresh=True
        )

    def record_checkpoint(self, stage: str, digest: str) -> None:
        """Record the SHA-256 of a checkpoint that is about to be renamed; keep those of the two before it."""
        known = self.stage(stage).get("checkpoints", [])
        self._update(stage, {"checkpoints": [digest, *known][:3]})

    def trained(self, stage: str, files: dict[str, str], *, keep_last: bool = False) -> None:
        """Record that a stage's weights and record are on the disk, with their SHA-256 by file name.

        Args:
            stage: The stage's name.
            files: The SHA-256 of its files.
            keep_last: Whether its last checkpoint stays on record.
        """
        kept = self.stage(stage).get("checkpoints", [])[:1] if keep_last else []
        self._update(stage, {"status": "trained", "files": files, "checkpoints": kept})

    def reopen(self, stage: str) -> None:
        """Record that a trained stage is running again, from its last checkpoint if there is one on record."""
        entry = self.stage(stage)
        kept: dict[str, Any] = {name: entry[name] for name in ("metrics_bytes", "checkpoints") if name in entry}
        self._update(stage, {"status": "running", **kept}, afresh=True)

    def finish(self, stage: str) -> None:
        """Record that a stage has written all of its files."""
        self._update(stage, {"status": "finished"})

    def set_status(self, status: str) -> None:
        """Record the status of the run."""
        if is_first_process():
            self._write({**self.read(), "status": status})

    @contextlib.contextmanager
    def recording_outcome(self) -> Iterator[None]:
        """Record ``running``, then how the block ends: ``finished``, ``stopped``, ``diverged`` or ``failed``."""
        self.set_status("running")
        try:
            yield
        except BaseException as error:
            # Report the error that ended the run, not a failure to record it.
            with contextlib.suppress(StorageError):
                self.set_status(_name_of(error))
            raise
        self.set_status("finished")

    def metrics_bytes(self) -> int:
        """Length of the metrics file in bytes; 0 if there is none."""
        path = self.out / METRICS
        return path.stat().st_size if path.is_file() else 0

    def truncate_metrics(self, length: int) -> None:
        """Truncate the metrics file to the length recorded earlier; later rows are written again."""
        path = self.out / METRICS
        if is_first_process() and path.is_file() and path.stat().st_size > length:
            with storing(path, 0):
                truncate(path, length)

    def _update(self, stage: str, values: dict[str, Any], *, afresh: bool = False) -> None:
        if is_first_process():
            state = self.read()
            state["stages"][stage] = values if afresh else {**state["stages"].get(stage, {}), **values}
            self._write(state)

    def _write(self, state: dict[str, Any]) -> None:
        write_atomically(self.path, (json.dumps(state, indent=2) + "\n").encode())


def _name_of(error: BaseException) -> str:
    if isinstance(error, StoppedError | KeyboardInterrupt):
        return "stopped"
    return "diverged" if isinstance(error, DivergedError) else "failed"


def check_name(stage: str) -> None:
    """Raise a ConfigError if a stage's name could lead out of the run directory.

    Example:
        >>> check_name("00-denoising")
    """
    try:
        records.check_name("a stage's name", stage)
    except ValueError as error:
        raise ConfigError(
            f"{error}. It names a folder, and comes from the name of the layer's class: rename that."
        ) from error


def layer_stages(out: Path) -> list[str]:
    """The names of the trained layers' stages in a run directory, from the input up.

    Raises:
        StorageError: If its ``state.json`` is damaged.
    """
    stages = RunState(out).read()["stages"]
    trained = [name for name, entry in stages.items() if entry["status"] != "running"]
    return sorted(name for name in trained if re.fullmatch(LAYER_STAGES, name))
