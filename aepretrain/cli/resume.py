"""``--resume DIR``: a run's own config, and what of it somebody would have changed."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from aepretrain.cli.config import resolve
from aepretrain.errors import ConfigError

RESUME = "resume"
FREE = ("trainer.accumulate", "trainer.chunk_steps")
"""What a run may go on with another value of: how a step is computed, not what it computes."""
COLUMNS = "data.init_args.columns"


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the config of the run that is to be resumed where they name none.

    Raises:
        ConfigError: If the directory holds no run, or ``--out`` names another one.
    """
    words = list(arguments)
    if (folder := _value_of(words, f"--{RESUME}")) is None:
        return words
    config = Path(folder) / "config.yaml"
    if not config.is_file():
        raise ConfigError(f"{folder} holds no run to resume: it has no config.yaml. Name a directory that fit wrote.")
    out = _value_of(words, "--out")
    if out is not None and Path(out).absolute() != Path(folder).absolute():
        raise ConfigError(f"--out {out} and --resume {folder} name two directories. Leave out --out to go on.")
    return words if _value_of(words, "--config") else ["--config", str(config), *words]


def changed_keys(out: Path, text: str) -> list[str]:
    """The dotted keys in which a resolved config differs from that of a run, but for those of :data:`FREE`.

    A setting that the version which wrote the run did not have counts as its default, and columns that it did not write
    down as all that there are.

    Raises:
        ConfigError: If the run's own config is not accepted.
    """
    before, now = (dict(_flat(yaml.safe_load(words))) for words in (resolve(out / "config.yaml"), text))
    missing = object()
    keys = (before.keys() | now.keys()) - set(FREE)
    if before.get(COLUMNS, missing) is None:
        keys -= {COLUMNS}
    return sorted(key for key in keys if before.get(key, missing) != now.get(key, missing))


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            yield from _flat(entry, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        for number, entry in enumerate(value):
            yield from _flat(entry, f"{place}[{number}]")
    else:
        yield place, value


def _value_of(words: Sequence[str], option: str) -> str | None:
    for word in words:
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
    return next((value for word, value in pairwise(words) if word == option), None)
