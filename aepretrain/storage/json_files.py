"""Reading and atomic writing of plain values as JSON, without NaN."""

import json
import math
from pathlib import Path
from typing import Any

from aepretrain.errors import StorageError
from aepretrain.storage.files import write_atomically
from aepretrain.storage.guard import LARGEST, read_text

AGAIN = "Remove its folder to run it again."


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


def read_json(path: Path, way_out: str = AGAIN, *, most: int = LARGEST) -> Any:
    """Read plain values from a JSON file.

    Args:
        path: The file.
        way_out: What to do if it cannot be read, as a sentence.
        most: Maximum size in bytes.

    Raises:
        StorageError: If the file is missing, damaged, too large or not a regular file.
    """
    try:
        return parse_json(read_text(path, most))
    except (OSError, ValueError, MemoryError) as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. {way_out}") from error


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: If it is not valid, or nests too deeply.

    Example:
        >>> parse_json("[" * 100_000)
        Traceback (most recent call last):
        ValueError: its values nest too deeply
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its values nest too deeply") from error


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, without its name.

    Example:
        >>> reason_of(FileNotFoundError(2, "No such file or directory", "a.json"))
        'No such file or directory'
    """
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()).rstrip(".") or type(error).__name__


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON, atomically and from the first process only: a file that exists is complete."""
    from aepretrain.processes import is_first_process  # it imports Lightning, which reading an encoder does not need

    if is_first_process():
        write_atomically(path, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode())
