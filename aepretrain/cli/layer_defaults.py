"""What the first layer takes from the data where a config names none: the likelihood and the noise of a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from aepretrain.cli.numbered import split_numbered
from aepretrain.errors import ConfigError
from aepretrain.runs.warm_start import WarmStart


def warm_start_of(built: Namespace) -> WarmStart | None:
    """The warm start that settings name.

    Raises:
        ConfigError: If there are further settings of a warm start, but no run to begin from.
    """
    if built.warm_start is not None:
        return WarmStart(built.warm_start, built.warm_start_layers, built.warm_start_sha256)
    for name in ("warm_start_layers", "warm_start_sha256"):
        if built[name] is not None:
            raise ConfigError(f"{name} is {built[name]}, but warm_start names no run. Name one, or leave {name} out.")
    return None


def take_layer_defaults(parser: ArgumentParser, words: Sequence[str], settings: Namespace, built: Namespace) -> None:
    """Complete the first layer, also that of the control network, in place; a note of the data says so.

    Args:
        parser: The parser of the words.
        words: The arguments after the verb, config files first.
        settings: The parsed settings, whose resolved config will name what was taken.
        built: What was built of them.
    """
    if not built.data.layer_defaults:
        return
    for key in ("layers", "control.layers"):
        if not (layers := built.get(key)):
            continue
        named, first = _named(parser, words, key), settings[key][0].init_args
        if (begun := warm_start_of(built)) is not None and "likelihood" not in named and key == "layers":
            begun.prepare_data(built.data)  # its categories are those of the run
        defaults = built.data.layer_defaults
        taken = {name: value for name, value in defaults.items() if name in first and name not in named}
        for name, value in taken.items():
            first[name] = Namespace(class_path=f"aepretrain.{type(value).__name__}", init_args=_plain(value))
        if taken:
            layers[0] = partial(layers[0], **taken)
            note = f"{key}[0] takes what fits the columns, as none is named: {', '.join(map(str, taken.values()))}."
            if note not in built.data.notes:
                built.data.notes.append(note)


def _named(parser: ArgumentParser, words: Sequence[str], key: str) -> set[str]:
    """The arguments of the first layer that the words and their config files name."""
    rest, numbered = split_numbered(words)
    layers = parser.parse_args(rest, defaults=False).get(key) or [Namespace()]
    own: Mapping[str, Any] = layers[0].get("init_args") or {}
    names = {str(name).split(".")[0] for name in vars(own)} if isinstance(own, Namespace) else set(own)
    option = re.compile(rf"--{re.escape(key)}\.0\.(?:init_args\.)?(\w+)")
    return names | {found[1] for _, option_words in numbered if (found := option.match(option_words[0]))}


def _plain(value: Any) -> Namespace:
    arguments = asdict(value)
    return Namespace(**{name: list(each) if isinstance(each, tuple) else each for name, each in arguments.items()})
