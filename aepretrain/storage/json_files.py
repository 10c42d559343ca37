"""Reading and atomic writing of plain values as JSON, without NaN."""

import json
import math
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from aepretrain.errors import StorageError
from aepretrain.storage.files import write_atomically


def finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, with ``None`` in nested dictionaries and lists.

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
    """Read plain values from a JSON file.

    Raises:
        StorageError: If the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}. Remove its folder to run it again.") from error


@rank_zero_only
def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, atomically: a file that exists is complete."""
    write_atomically(path, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode())
