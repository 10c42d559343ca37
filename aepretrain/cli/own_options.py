"""The words of a verb that takes no config: its own options alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from aepretrain.cli.options import DESCRIPTIONS, OWN
from aepretrain.errors import ConfigError


def take_prefixed(words: Sequence[str], prefix: str) -> tuple[list[str], list[str]]:
    """The words without options that begin with a prefix, and these options with their values.

    Example:
        >>> take_prefixed(["runs/a", "--data.root", "b.csv", "--data.y=c"], "--data.")
        (['runs/a'], ['--data.root', 'b.csv', '--data.y=c'])
    """
    rest: list[str] = []
    taken: list[str] = []
    pending = False
    for word in words:
        (taken if pending or word.startswith(prefix) else rest).append(word)
        pending = word.startswith(prefix) and "=" not in word
    return rest, taken


def parse_own(
    verb: str, arguments: Sequence[str], usage: str, keywords: Mapping[str, Mapping[str, Any]] | None = None
) -> Namespace:
    """Parse the words after a verb by its options in :data:`~aepretrain.cli.options.OWN`.

    Args:
        verb: The verb.
        arguments: The words after it.
        usage: What stands behind the verb in a right command.
        keywords: Arguments for ``add_argument`` by name of option, where an option takes other than optional text.

    Raises:
        ConfigError: If the words do not fit; the message ends with the usage.

    Example:
        >>> parse_own("report", ["runs/digits"], "DIR").directory
        'runs/digits'
    """
    parser = ArgumentParser(prog=f"aepretrain {verb}", description=DESCRIPTIONS[verb], exit_on_error=False)
    for option in OWN[verb]:
        own = (keywords or {}).get(option.name, {})
        parser.add_argument(option.name, **{**({} if "action" in own else {"type": str}), **option.keywords, **own})
    try:
        return parser.parse_args(list(arguments))
    except ArgumentError as error:
        raise ConfigError(f"{' '.join(str(error).split())}. Usage: aepretrain {verb} {usage}") from error
