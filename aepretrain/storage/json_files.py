"""Plain values in JSON files: whole or not at all, and never NaN."""

import json
import math
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.errors import StorageError
from aepretrain.storage.files import write_whole


def finite(value: Any) -> Any:
    """A value of plain dictionaries, lists and numbers, with ``None`` for NaN and infinity, which JSON does not have.

    Example:
        >>> finite({"a": [1.5, float("nan")]})
        {'a': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """The plain values of a file.

    Raises:
        StorageError: If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}. Remove its folder to run it again.") from error


@rank_zero_only
def write_json(path: Path, value: Any) -> None:
    """Write plain values whole or not at all: a file that exists is complete."""
    write_whole(path, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode())
