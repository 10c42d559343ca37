"""Checkpoints of a stage: when they are saved, and atomic files of plain values with the previous one kept."""

import io
import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from aepretrain.console import print_line
from aepretrain.errors import AEPretrainError, StoppedError, StorageError
from aepretrain.processes import is_first_process
from aepretrain.storage.files import sha256, sha256_of, storing, sync_folder, write_part
from aepretrain.storage.guard import open_regular
from aepretrain.storage.json_files import reason_of
from aepretrain.storage.plain_values import plain
from aepretrain.training.divergence import check_weights
from aepretrain.training.options import Saving
from aepretrain.training.recovery.run_state import LAST, PREVIOUS
from aepretrain.training.recovery.signals import received, words
from aepretrain.training.recovery.stage_files import StageFiles
from aepretrain.training.state import TrainingState

BYTES_PER_VALUE = 4
CHECKPOINT_COPIES = 4
"""Copies of the weights in a checkpoint: weights, two optimizer moments and the best epoch's weights."""
CHECKPOINTS = 3
"""Checkpoints on the disk at once: the last, the previous and the one being written."""


class SavePoints:
    """Saves at intervals of minutes or steps, and when a signal asks the run to stop; then stops.

    Between two chunks the previous step is complete, and so are the validation and the end of the previous epoch. All
    later steps are a function of the saved state, so a resumed run ends with the same bits.

    Args:
        stage: The stage's name.
        saving: How often to save.
        files: The stage's files; ``None`` saves nothing and only stops.
        fabric: The Fabric of the processes, which save and stop together.
        step: Number of completed steps of the stage.
        checks: Whether to check before saving that the weights are finite.
    """

    def __init__(
        self, stage: str, saving: Saving, files: StageFiles | None, fabric: Fabric, *, step: int, checks: bool = True
    ) -> None:
        self.stage = stage
        self.saving = saving
        self.files = files
        self.fabric = fabric
        self.checks = checks
        self._saved_at, self._saved_step = time.monotonic(), step

    @property
    def every_steps(self) -> int | None:
        """Steps from one checkpoint to the next; ``None`` if saving is not by steps or there are no files."""
        return None if self.files is None else self.saving.every_steps

    def save_or_stop(self, state: TrainingState) -> None:
        """Save if a checkpoint is due, and stop if a signal arrived, on all processes.

        Raises:
            StoppedError: If a signal asks the run to stop.
            DivergedError: If a weight to be saved is not finite; the previous checkpoint stays.
        """
        due, signum = self._agree(self._is_due(state.step), received())
        if due or signum:
            self.save(state)
        if signum:
            saved = ", which is saved" if self.files is not None else ""
            raise StoppedError(f"stopped by {words(signum)} in {self.stage} before step {state.step}{saved}.", signum)

    def save(self, state: TrainingState) -> None:
        """Save now, on all processes, if there are files.

        Raises:
            DivergedError: If a weight to be saved is not finite; the previous checkpoint stays.
        """
        if self.files is None:
            return
        if self.checks:
            check_weights(state.module, self.stage, state.step)
        kept = state.state_dict()  # on all processes: each holds a part of it
        Checkpoints(self.files).save({**kept, "metrics_bytes": self.files.state.metrics_bytes()})
        self._saved_at, self._saved_step = time.monotonic(), state.step

    def _is_due(self, step: int) -> bool:
        every_steps, every_minutes = self.every_steps, self.saving.every_minutes
        if self.files is None or step == self._saved_step:
            return False
        # Chunks end there, or a few steps later, with a block.
        if every_steps is not None and step // every_steps > self._saved_step // every_steps:
            return True
        return every_minutes is not None and time.monotonic() - self._saved_at >= 60 * every_minutes

    def _agree(self, due: bool, signum: int) -> tuple[bool, int]:
        """Whether to save, and the signal to stop for: the same on all processes if any process requests it."""
        if self.fabric.world_size > 1:
            asked = torch.tensor([int(due), signum], device=self.fabric.device)
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
            due, signum = bool(asked[0]), int(asked[1])
        return due, signum


class Checkpoints:
    """The checkpoints of one stage: ``last.ckpt`` and the one before it, ``previous.ckpt``.

    A file is written under a temporary name, flushed to the disk, recorded in ``state.json`` by its SHA-256, and only
    then renamed: whenever the process is killed, one of the two is intact and recorded.

    Args:
        files: The files of the stage.
    """

    def __init__(self, files: StageFiles) -> None:
        self.files = files

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint, on the first process only.

        Raises:
            StorageError: If it cannot be written; existing checkpoints are unchanged.
            ConfigError: If the state of an optimizer or a scheduler holds more than plain values.
        """
        if not is_first_process():
            return
        path, buffer = self.files.folder / LAST, io.BytesIO()
        torch.save(plain(state, "checkpoint"), buffer)
        data = buffer.getvalue()
        with storing(path, len(data)):
            self.files.folder.mkdir(parents=True, exist_ok=True)
            part = write_part(path, data)
            try:
                self.files.state.record_checkpoint(self.files.stage, sha256(data))
                if path.exists():
                    os.replace(path, path.with_name(PREVIOUS))
                os.replace(part, path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)

    def load(self) -> dict[str, Any] | None:
        """Load the newest intact checkpoint; return ``None`` if there is no checkpoint.

        Raises:
            StorageError: If all checkpoints are damaged, or the intact one holds more than plain values.
        """
        known = self.files.state.stage(self.files.stage).get("checkpoints", [])
        path = newest_intact(self.files.folder, known)
        if path is None:
            return None
        print_line(f"{self.files.stage}  goes on from {path}")
        return read_checkpoint(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of plain values; nothing in it is executed.

    Raises:
        StorageError: If it cannot be read or holds anything else.
    """
    try:
        with warnings.catch_warnings(), io.BufferedReader(open_regular(path)) as file:
            warnings.simplefilter("ignore")  # the error below is clearer than torch's warnings
            state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError("no dictionary")
        return state
    except AEPretrainError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. Remove it to start the stage again.") from error
    # A damaged file makes torch's unpickler raise nearly everything: AssertionError, AttributeError, struct's errors.
    except Exception as error:
        # torch's own message suggests reading the file without this protection.
        raise StorageError(
            f"{path} is no checkpoint of plain values ({type(error).__name__}), and nothing else is read. "
            "Remove it to start the stage again."
        ) from error


def newest_intact(folder: Path, known: list[str]) -> Path | None:
    """Return the path of the newest intact checkpoint, or ``None`` if the folder holds no checkpoint.

    Args:
        folder: The stage's folder.
        known: The SHA-256 of the checkpoints that were written.

    Raises:
        StorageError: If there are checkpoints, but all are damaged.
    """
    found = [path for path in (folder / LAST, folder / PREVIOUS) if path.exists()]
    for path in found:
        if sha256_of(path) in known:
            return path
        print_line(f"warning: {path} is damaged: it is not what was written. Trying the one before it.")
    if found:
        raise StorageError(
            f"no checkpoint in {folder} is what was written: {', '.join(path.name for path in found)} are damaged. "
            "Remove them to start this stage again by --resume; finished stages stay as they are."
        )
    return None


def disk_for_training(stack: nn.Module) -> int:
    """Estimate how many bytes a run writes: checkpoints of a stage as large as the stack, and all weights twice."""
    size = sum(parameter.numel() for parameter in stack.parameters()) * BYTES_PER_VALUE
    return size * (CHECKPOINT_COPIES * CHECKPOINTS + 2)
