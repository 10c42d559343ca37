"""A class that is named starts from its own defaults: nothing of the class that it replaces goes over to it.

jsonargparse keeps arguments of the old class that the new one accepts, too, defaults included: AdamW named over Adam
would train without weight decay, and every optimizer would begin with Adam's rate.
"""

import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from aepretrain.cli.jsonargparse_internals import on_class_change
from aepretrain.errors import ConfigError


def start_named_classes_afresh() -> None:
    """Have jsonargparse drop all arguments of a class that another one replaces, on the command line and in files."""
    on_class_change(discard_arguments)


def discard_arguments(parser: Any, before: Any, now: Any) -> None:
    """Drop the arguments of a class specification, in place, where the one that follows names another class.

    Args:
        parser: Unused; jsonargparse gives it.
        before: What was given so far: a class with its arguments, or nothing.
        now: What follows.

    Example:
        >>> from jsonargparse import Namespace
        >>> before = Namespace(class_path="torch.optim.Adam", init_args=Namespace(lr=0.001, weight_decay=0.0))
        >>> discard_arguments(None, before, Namespace(class_path="torch.optim.AdamW"))
        >>> before
        Namespace(class_path='torch.optim.Adam')
    """
    if before and before.get("class_path") and not _is_same_class(before["class_path"], now["class_path"]):
        for name in ("init_args", "dict_kwargs"):
            before.pop(name, None)


def _is_same_class(one: str, other: str) -> bool:
    """Whether two import paths name the same class: ``aepretrain.Digits`` is ``aepretrain.data.digits.Digits``."""
    return one == other or imported(one) is imported(other)


def imported(path: str) -> Any:
    """What an import path names; the path itself where its module was not imported: nothing is imported here."""
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, path)


def files_first(words: Sequence[str]) -> list[str]:
    """The words with config files in front, since arguments override files wherever they stand.

    Example:
        >>> files_first(["--seed", "1", "--config", "a.yaml", "--config=b.yaml"])
        ['--config', 'a.yaml', '--config=b.yaml', '--seed', '1']
    """
    files: list[str] = []
    rest: list[str] = []
    pending = False
    for word in words:
        is_file = pending or word == "--config" or word.startswith("--config=")
        (files if is_file else rest).append(word)
        pending = word == "--config" and not pending
    return [*files, *rest]


def check_order(parser: ArgumentParser, words: Sequence[str]) -> None:
    """See that no argument is lost because its class is named after it, as in ``--data.labels 100 --data MNIST``.

    Args:
        parser: The parser of the words, which accepts them.
        words: The arguments after the verb, config files first.

    Raises:
        ConfigError: If an argument is lost; the message names it and its class.
    """
    named = [word.split("=")[0] for word in words]
    for place, option in enumerate(named):
        if not option.startswith("--") or option in named[:place]:
            continue
        first = next((k for k in range(place) if named[k].startswith(f"{option}.")), None)
        if first is None:
            continue
        stop = place + (1 if "=" in words[place] else 2)
        moved = [*words[:first], *words[place:stop], *words[first:place], *words[stop:]]
        if _parsed(parser, words) != _parsed(parser, moved):
            raise ConfigError(
                f"{named[first]} stands before {' '.join(words[place:stop])}, which starts from its own defaults, so "
                f"it would be lost. Put {named[first]} after {option}."
            )


def _parsed(parser: ArgumentParser, words: Sequence[str]) -> Any:
    """The settings of these words; ``None`` where they are not accepted."""
    try:
        return parser.parse_args(list(words))
    except ArgumentError:
        return None
