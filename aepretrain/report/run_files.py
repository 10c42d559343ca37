"""Reading the files of a run for the report; a missing file gives an empty result or None."""

from pathlib import Path
from typing import Any

from aepretrain.errors import StorageError
from aepretrain.results.head import HEADS
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.run import RunResult
from aepretrain.storage.guard import read_text
from aepretrain.storage.json_files import reason_of
from aepretrain.storage.yaml_files import read_yaml
from aepretrain.tracking.metrics_file import read_metrics

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

    Rows that repeat an epoch, as after resuming from a checkpoint, replace the earlier ones.

    Raises:
        StorageError: If the file is damaged.
    """
    found: dict[str, dict[str, Curve]] = {}
    for row in read_metrics(path) if path.is_file() else ():
        found.setdefault(row.stage, {}).setdefault(row.name, {})[row.epoch] = row.value
    return {
        stage: {name: dict(sorted(values.items())) for name, values in names.items()} for stage, names in found.items()
    }


def last_curves(folder: Path) -> dict[str, Curve]:
    """The curves of the head of a run or cell, else of all its layers together, by name; empty if it has neither.

    Raises:
        StorageError: If the file is damaged.
    """
    found = read_curves(folder / "metrics.jsonl")
    return next((found[stage] for stage in (*HEADS, UNROLLED) if stage in found), {})


def read_config(folder: Path) -> tuple[str, dict[str, Any]]:
    """Read the resolved config of a run or comparison as text and values; both empty if it is missing.

    Raises:
        StorageError: If the file is damaged.
    """
    path = folder / "config.yaml"
    return read_yaml(path, "Write it again.") if path.is_file() else ("", {})


def read_commands(folder: Path) -> list[str]:
    """Read the commands that wrote a directory, one per line of ``commands.txt``; empty if it is missing.

    Raises:
        StorageError: If the file is damaged.
    """
    path = folder / "commands.txt"
    try:
        return read_text(path).splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. Remove it to go without it.") from error
