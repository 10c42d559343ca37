"""Checkpoint files: never torn, the previous one kept, read back as plain values only."""

import io
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aepretrain.console import print_line
from aepretrain.errors import ConfigError, StorageError
from aepretrain.processes import is_first_process
from aepretrain.storage.files import sha256, sha256_of, storing, sync_folder, write_part
from aepretrain.training.recovery.stage_files import LAST, PREVIOUS, StageFiles


class Checkpoints:
    """The checkpoints of one stage: ``last.ckpt``, and the one before it as ``previous.ckpt``.

    A file is written beside its place, forced onto the disk, recorded in ``state.json`` by its SHA-256, and only then
    moved: whenever the process is killed, one of the two is whole and known.

    Args:
        files: The files of the stage.
    """

    def __init__(self, files: StageFiles) -> None:
        self.files = files

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint, from the first process alone.

        Raises:
            StorageError: If it cannot be written; what was there before is unchanged.
            ConfigError: If the state of an optimizer or a scheduler is more than plain values.
        """
        if not is_first_process():
            return
        path, buffer = self.files.folder / LAST, io.BytesIO()
        torch.save(plain(state, "checkpoint"), buffer)
        data = buffer.getbuffer()
        with storing(path, len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = write_part(path, data)
            try:
                self.files.state.expect_checkpoint(self.files.stage, sha256(data))
                if path.exists():
                    os.replace(path, path.with_name(PREVIOUS))
                os.replace(part, path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
            sync_folder(path.parent)

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint that is what was written, made of plain values; ``None`` if there never was one.

        Raises:
            StorageError: If none of them is what was written, or holds more than plain values.
        """
        known = self.files.state.stage(self.files.stage).get("checkpoints", [])
        path = newest_intact(self.files.folder, known)
        if path is None:
            return None
        print_line(f"{self.files.stage}  goes on from {path}")
        return read_checkpoint(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, made of plain values: nothing in it is run.

    Raises:
        StorageError: If it holds anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch would say of a foreign file, we say better
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        # torch's own message offers to read the file without this protection.
        raise StorageError(
            f"{path} is no checkpoint of plain values ({type(error).__name__}), and nothing else is read. "
            "Remove it to start the stage again."
        ) from error


def newest_intact(folder: Path, known: list[str]) -> Path | None:
    """The newest checkpoint that is what was written, or ``None`` where none was ever written.

    Args:
        folder: The stage's folder.
        known: The SHA-256 of the checkpoints that were written.

    Raises:
        StorageError: If there are checkpoints, but none is what was written.
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


def plain(value: Any, place: str) -> Any:
    """The same value made of dictionaries, lists, tuples, numbers, words and tensors alone.

    Raises:
        ConfigError: If it holds anything else, which could not be read back without running code.

    Example:
        >>> import numpy as np
        >>> plain({"lr": np.float64(0.1), "shape": torch.Size([2])}, "state")
        {'lr': 0.1, 'shape': (2,)}
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {plain(key, place): plain(entry, f"{place}.{key}") for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry, place) for entry in value]
    if isinstance(value, tuple):
        return tuple(plain(entry, place) for entry in value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is None or isinstance(value, bytes):
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "size", 0) == 1:
        return value.item()
    raise ConfigError(
        f"{place} is a {type(value).__name__}, and checkpoints hold plain values only: numbers, words, lists, "
        "dictionaries, tensors. Use another scheduler or callback, or give it a state_dict of plain values."
    )
