"""Settings of one entry of a list: ``--layers.0.coder.features 5`` is that of the first layer."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from aepretrain.cli.class_changes import check_order
from aepretrain.cli.config_keys import CALLBACK, LAYER
from aepretrain.errors import ConfigError

LISTS: dict[str, Any] = {"layers": LAYER, "control.layers": LAYER, "callbacks": CALLBACK}
"""The settings that are lists of classes, with the type of an entry."""
OPTION = re.compile(rf"--({'|'.join(map(re.escape, LISTS))})\.([^=]*)(?:=.*)?", re.DOTALL)


def replace_numbered(parser: ArgumentParser, words: Sequence[str]) -> list[str]:
    """The words in which settings of single entries became the whole list: jsonargparse would set the last entry's.

    Args:
        parser: The parser of the words.
        words: The arguments after the verb, config files first.

    Raises:
        ConfigError: If an option names no entry, or one that is not there.
        ArgumentError: If a setting of an entry is not accepted.
    """
    rest, numbered = split_numbered(words)
    if not numbered:
        return rest
    values = yaml.safe_load(parser.dump(parser.parse_args(rest), skip_unset=False, skip_validation=True))
    for name in dict.fromkeys(name for name, _ in numbered):
        entries = values
        for part in name.split("."):
            entries = entries[part]
        own = [option for key, option in numbered if key == name]
        for number in sorted({_number(name, option[0], len(entries)) for option in own}):
            start = f"--{name}.{number}"
            mine = [word for option in own if re.match(rf"{re.escape(start)}(?=[.=]|$)", option[0]) for word in option]
            entries[number] = _changed(f"{name}.{number}", LISTS[name], entries[number], mine)
        rest.append(f"--{name}={_flow(entries)}")
    return rest


def split_numbered(words: Sequence[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The words without settings of entries, and these settings: the list, and the option with its value."""
    rest: list[str] = []
    numbered: list[tuple[str, list[str]]] = []
    pending: Iterator[str] = iter(words)
    for word in pending:
        found = OPTION.fullmatch(word)
        if found is None or found[2] == "help":
            rest.append(word)
        elif "=" in word:
            numbered.append((found[1], [word]))
        elif (value := next(pending, None)) is None:
            raise ConfigError(f"{word} needs a value after it. Give one, or leave {word} out.")
        else:
            numbered.append((found[1], [word, value]))
    return rest, numbered


def _number(name: str, word: str, count: int) -> int:
    """The entry that an option names."""
    option = word.split("=")[0]
    inner = option.removeprefix(f"--{name}.")
    first = inner.split(".")[0]
    if not first.isdecimal():
        raise ConfigError(
            f"{option} does not tell which of the {name} it is of. Give its number, from 0: --{name}.0.{inner} is of "
            f"the first{f', --{name}.{count - 1}.{inner} of the last' if count > 1 else ''}."
        )
    if int(first) >= count:
        known = f"they are numbered from 0 to {count - 1}" if count else "there are none"
        raise ConfigError(f"{option} names number {first} of the {name}, but {known}. Add it to the list in a config.")
    return int(first)


def _changed(key: str, kind: Any, entry: Any, words: Sequence[str]) -> Any:
    """An entry with some settings changed, parsed as any other class with its arguments."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{key}", type=kind)
    words = [f"--{key}={_flow(entry)}", *words]
    settings = parser.parse_args(words)
    check_order(parser, words)
    values = yaml.safe_load(parser.dump(settings, skip_unset=False, skip_validation=True))
    for part in key.split("."):
        values = values[part]
    return values


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=float("inf")).strip()
