"""What the files of a run say, read for the report; a file that is not there is an empty answer, or None."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from aepretrain.errors import StorageError
from aepretrain.results.run import RunResult

Curve = dict[int, float]
"""The values of those epochs, counted from 0, in which there was one, in their order."""


def read_results(folder: Path) -> RunResult | None:
    """What a run found; None while it has not finished.

    Args:
        folder: The run directory.

    Raises:
        StorageError: If ``results.json`` is damaged.
    """
    path = folder / "results.json"
    return RunResult.read(path) if path.is_file() else None


def read_curves(path: Path) -> dict[str, dict[str, Curve]]:
    """The curves of ``metrics.jsonl``: stage, then name, then the values by epoch.

    Rows that repeat an epoch, as after going on from a checkpoint, replace the earlier ones. A last row that was cut
    off when the run was killed is left out.

    Raises:
        StorageError: If the file is damaged.
    """
    found: dict[str, dict[str, Curve]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                row = _row(line, path)
                value = float("nan") if row["value"] is None else row["value"]
                found.setdefault(row["stage"], {}).setdefault(row["name"], {})[row["epoch"]] = value
    return {
        stage: {name: dict(sorted(values.items())) for name, values in names.items()} for stage, names in found.items()
    }


def _row(line: str, path: Path) -> dict[str, Any]:
    try:
        return json.loads(line)
    except ValueError as error:
        raise StorageError(f"{path} cannot be read: {error}. Remove its folder to run it again.") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file, empty if it is missing.

    Raises:
        StorageError: If it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path} cannot be read: {error}. Remove it to have the report without it.") from error


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """The resolved config of a run or comparison: its text and its values; empty if it is missing.

    Raises:
        StorageError: If it is damaged.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
        return text, yaml.safe_load(text) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StorageError(f"{path} cannot be read: {' '.join(str(error).split())}. Write it again.") from error


def read_commands(folder: Path) -> list[str]:
    """The commands that made a directory, one per line of ``commands.txt``."""
    path = folder / "commands.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
