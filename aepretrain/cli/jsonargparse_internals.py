"""What jsonargparse keeps in private names and has no option for: the only file that reads or writes these."""

from collections.abc import Callable
from typing import Any

import yaml
from jsonargparse import _loaders_dumpers, _typehints


def default_loader() -> type[yaml.SafeLoader]:
    """The loader of YAML that jsonargparse reads configs with, from which ours is derived."""
    return _loaders_dumpers.get_yaml_default_loader()


def read_words_with(loader: type[yaml.SafeLoader]) -> None:
    """Have words and numbers become values of the type that a setting has by this loader; ``set_loader`` does not."""
    vars(_loaders_dumpers)["yaml_default_loader"] = loader


def on_class_change(discard: Callable[[Any, Any, Any], None]) -> None:
    """Have a function drop arguments where a class replaces another; no setting says that all are to go.

    Args:
        discard: Called with the parser, what was given before and what follows; it changes the former in place.
    """
    _typehints.discard_init_args_on_class_path_change = discard
