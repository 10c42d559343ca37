"""What a stage leaves on the disk, and what of it can be taken up again."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from aepretrain.errors import ConfigError, StorageError
from aepretrain.storage.files import PART, make_folder, sha256_of, storing, sync_folder, write_whole
from aepretrain.training.recovery.run_state import RunState

WEIGHTS, RECORD = "model.safetensors", "record.json"
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
BYTES_PER_VALUE = 4
CHECKPOINT_COPIES = 4
"""Weights, two moments of the optimizer, and the best epoch's weights."""
CHECKPOINTS = 3
"""The last, the one before, and the one being written."""


@dataclass(frozen=True)
class StageRecord:
    """What came out of a stage.

    Args:
        stage: The stage's name.
        epochs: Epochs trained.
        kept_epoch: The epoch, counted from 0, whose weights were kept.
        steps: Optimizer steps.
        seconds: Wall-clock time of the whole stage: start of the processes, validation and checkpoints included.
        history: The figures of every epoch, named as they were logged.
        device: The kind of device, such as ``cpu`` or ``cuda:0``.
        processes: How many processes trained together.
        skipped_steps: Updates that were left out because their gradients were not finite.
    """

    stage: str
    epochs: int
    kept_epoch: int
    steps: int
    seconds: float
    history: Sequence[dict[str, float]]
    device: str
    processes: int
    skipped_steps: int = 0

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of the kept epoch."""
        return self.history[self.kept_epoch]


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
            self.state.cut_metrics(entry["metrics_bytes"])
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
        for name, digest in self.state.stage(self.stage)["files"].items():
            path = self.folder / name
            if not path.is_file() or sha256_of(path) != digest:
                raise StorageError(f"{path} is missing or is not what was written. Start the run again in a new --out.")
        try:
            load_model(module, str(self.folder / WEIGHTS), strict=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise StorageError(f"{self.folder / WEIGHTS} does not fit: {' '.join(str(error).split())}") from error
        kept = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return StageRecord(**kept["record"])

    def commit(self, module: nn.Module, record: StageRecord) -> None:
        """Write weights and record, and only then record the stage as trained; its checkpoints have served.

        Raises:
            StorageError: If a file cannot be written.
        """
        weights = self.folder / WEIGHTS
        part = weights.with_name(WEIGHTS + PART)
        with storing(weights, sum(tensor.nbytes for tensor in module.state_dict().values())):
            try:
                save_model(module, str(part))
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                part.replace(weights)
            except (OSError, SafetensorError) as error:
                part.unlink(missing_ok=True)
                raise as_os_error(error) from error
            sync_folder(self.folder)
        write_whole(self.folder / RECORD, (json.dumps({"record": asdict(record)}) + "\n").encode())
        self.state.trained(self.stage, {name: sha256_of(self.folder / name) for name in (WEIGHTS, RECORD)})
        self._drop_checkpoints()

    def _drop_checkpoints(self) -> None:
        with storing(self.folder, 0):
            for name in (LAST, PREVIOUS):
                (self.folder / name).unlink(missing_ok=True)


def as_os_error(error: Exception) -> OSError:
    """What the system refused, of an error of safetensors, which names the number in its text alone.

    Example:
        >>> as_os_error(SafetensorError("Error while serializing: I/O error: ... (os error 28)"))
        OSError(28, 'No space left on device')
    """
    if isinstance(error, OSError):
        return error
    number = re.search(r"os error (\d+)", str(error))
    return OSError(str(error)) if number is None else OSError(int(number[1]), os.strerror(int(number[1])))


def disk_needed(stack: nn.Module) -> int:
    """About how many bytes a run over a stack writes: checkpoints of its largest stage, and all weights twice."""
    size = sum(parameter.numel() for parameter in stack.parameters()) * BYTES_PER_VALUE
    return size * (CHECKPOINT_COPIES * CHECKPOINTS + 2)
