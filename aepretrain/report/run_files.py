"""Reading the files of a run for the report; a missing file gives an empty result or None."""

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
"""Values by epoch, counted from 0 and in order; epochs without a value are absent."""


def read_results(folder: Path) -> RunResult | None:
    """Read the results of a run; None if it has not finished.

    Args:
        folder: Run directory.

    Raises:
        StorageError: If ``results.json`` is damaged.
    """
    path = folder / "results.json"
    return RunResult.read(path) if path.is_file() else None


def read_curves(path: Path) -> dict[str, dict[str, Curve]]:
    """Read the curves of ``metrics.jsonl``: values by stage, name and epoch.

    Rows that repeat an epoch, as after resuming from a checkpoint, replace the earlier ones. A last row that was
    truncated when the run was killed is ignored.

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
    """Read the arrays of an ``.npz`` file; empty if it is missing.

    Raises:
        StorageError: If the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path} cannot be read: {error}. Remove it to have the report without it.") from error


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Read the resolved config of a run or comparison as text and values; both empty if it is missing.

    Raises:
        StorageError: If the file is damaged.
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
    """Read the commands that wrote a directory, one per line of ``commands.txt``; empty if it is missing."""
    path = folder / "commands.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
