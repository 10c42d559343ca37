"""Reading of YAML without running code, of bounded size."""

from pathlib import Path
from typing import Any

import yaml

from aepretrain.errors import StorageError
from aepretrain.storage.guard import read_text
from aepretrain.storage.json_files import reason_of

LARGEST = 16 << 20
"""Maximum size of a file in bytes."""
MOST = 1_000_000
"""Maximum number of values, with those that aliases repeat."""
DEEPEST = 50
"""Maximum depth of nested values; a config has about 10."""


def check_size(node: yaml.Node | None) -> None:
    """Check that a parsed YAML document holds values in bounded number and depth; an alias counts as what it repeats.

    Raises:
        yaml.YAMLError: If it does not.

    Example:
        >>> check_size(yaml.compose("a: &a [1]"))
        >>> check_size(yaml.compose("a: &a [*a]"))
        Traceback (most recent call last):
        yaml.error.YAMLError: its values nest more than 50 deep, or hold themselves. Write them out without aliases
    """
    _count(node, {}, DEEPEST)


def parse_yaml(text: str) -> Any:
    """Parse YAML to plain values.

    Raises:
        yaml.YAMLError: If it is not valid, or holds too much.

    Example:
        >>> parse_yaml("seed: 1")
        {'seed': 1}
    """
    try:
        check_size(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except RecursionError as error:
        raise _too_deep() from error
    # A date that no calendar has, a base64 text that is none.
    except (ValueError, TypeError, OverflowError) as error:
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error


def read_yaml(path: Path, way_out: str) -> tuple[str, dict[str, Any]]:
    """Read a YAML file of settings: its text and its values.

    Args:
        path: The file.
        way_out: What to do if it cannot be read, as a sentence.

    Raises:
        StorageError: If the file is missing, damaged, too large or holds no settings.
    """
    try:
        text = read_text(path, LARGEST)
        values = parse_yaml(text)
    except (OSError, ValueError, yaml.YAMLError, MemoryError) as error:
        raise StorageError(f"{path} cannot be read: {reason_of(error)}. {way_out}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise StorageError(f"{path} must hold keys and values, but holds {type(values).__name__}. {way_out}")
    return text, values


def _count(node: yaml.Node | None, known: dict[int, int], depth: int) -> int:
    """The number of values in a node; nodes that aliases name again are counted once and added again."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if depth == 0:
        raise _too_deep()
    if id(node) not in known:
        entries = [each for pair in node.value for each in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count(entry, known, depth - 1) for entry in entries)
    if known[id(node)] > MOST:
        raise yaml.YAMLError(f"it holds more than {MOST:,} values, counting what aliases repeat. Write fewer")
    return known[id(node)]


def _too_deep() -> yaml.YAMLError:
    return yaml.YAMLError(
        f"its values nest more than {DEEPEST} deep, or hold themselves. Write them out without aliases"
    )
