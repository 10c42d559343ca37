"""YAML that jsonargparse reads, in files and in arguments, of bounded size and depth."""

from collections.abc import Callable
from typing import Any

import yaml
from jsonargparse import get_loader

from aepretrain.storage.yaml_files import DEEPEST, check_size

LOAD: Callable[[str], Any] = get_loader("yaml")


def load(text: str) -> Any:
    """Parse a YAML value.

    Raises:
        yaml.YAMLError: If it is not valid, or holds too much.

    Example:
        >>> load("[1, 2]")
        [1, 2]
    """
    try:
        if "*" in text or text.count("[") + text.count("{") + text.count("- ") > DEEPEST:
            check_size(yaml.compose(text, Loader=yaml.SafeLoader))
        return LOAD(text)
    except RecursionError as error:
        raise yaml.YAMLError("its values nest too deeply") from error
