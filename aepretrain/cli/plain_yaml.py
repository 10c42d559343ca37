"""YAML without its traps: ``off`` is a word, ``010`` is ten and ``1:30`` is no number.

YAML 1.1 reads them as false, eight and ninety. Here only true and false are booleans, and other words stay words until
the type of the setting tells what they are: ``report: off`` is still false, and ``wandb.name: off`` a name.
"""

import re
from enum import Enum
from typing import Any, cast

import yaml
from jsonargparse import set_dumper, set_loader

from aepretrain.cli.bounded_yaml import load as load_bounded
from aepretrain.cli.jsonargparse_internals import default_loader, read_words_with
from aepretrain.storage.yaml_files import check_size

SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?0b[01_]+", "-+0123456789"),
    "float": (
        r"[-+]?[0-9][0-9_]*(\.[0-9_]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
"""What is written for a value of each type, and the characters it begins with."""
WORDS = (r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO")
"""Other spellings of true and false, for boolean settings."""


class _Bounded(yaml.SafeLoader):
    """A loader that looks how much a text holds before it makes values of it."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        check_size(node)
        return node


def _loader(booleans: tuple[str, str], base: type[yaml.SafeLoader]) -> type[yaml.SafeLoader]:
    """A loader with other rules for booleans and numbers."""
    scalars = {**SCALARS, "bool": booleans}
    changed = {f"tag:yaml.org,2002:{name}" for name in scalars}
    kept = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in changed]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }
    loader: Any = type("PlainLoader", (_Bounded, base), {"yaml_implicit_resolvers": kept})
    for name, (pattern, first) in scalars.items():
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"^(?:{pattern})$"), list(first))
    return cast(type[yaml.SafeLoader], loader)


_base = default_loader()
_plain = _loader(SCALARS["bool"], _base)
_by_type = _loader(("|".join((SCALARS["bool"][0], WORDS[0])), SCALARS["bool"][1] + WORDS[1]), _base)


def load(text: str) -> Any:
    """The values of a YAML text.

    Raises:
        yaml.YAMLError: If it is no valid YAML, or holds too much.

    Example:
        >>> load("{name: off, seed: 010, day: 2026-11-30, report: false, width: 0x10}")
        {'name': 'off', 'seed': '010', 'day': '2026-11-30', 'report': False, 'width': 16}
    """
    try:
        return yaml.load(text, Loader=_plain)  # noqa: S506 - derived from the safe loader
    except RecursionError as error:
        raise yaml.YAMLError("its values nest too deeply") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error


def use_plain_yaml() -> None:
    """Have jsonargparse read config files and values on the command line by :func:`load`, and write what it reads."""
    set_loader("yaml", _load_value, (yaml.YAMLError,))
    set_dumper("yaml", _dump)
    read_words_with(_by_type)


class _Dumper(yaml.SafeDumper):
    """A dumper that writes members of an enumeration, which are defaults of some callbacks, as their values."""


_Dumper.add_multi_representer(Enum, lambda dumper, member: dumper.represent_data(member.value))


def _dump(values: Any) -> str:
    return str(yaml.dump(values, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))


def _load_value(text: str) -> Any:
    value = load_bounded(text)
    # jsonargparse leaves text in braces without values, such as {a, b}, as it is.
    return value if isinstance(value, str) else load(text)
