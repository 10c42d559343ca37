"""``--resume DIR``: read the config of a run, and compare it with the given settings."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from aepretrain.cli.config import resolve
from aepretrain.cli.resolved import path_keys
from aepretrain.errors import ConfigError
from aepretrain.runs.directory import check_no_comparison
from aepretrain.storage.yaml_files import parse_yaml

RESUME = "resume"
MORE = "more-epochs"
EPOCHS = "finetune.epochs"
"""The setting that :data:`MORE` raises."""
OF_DATA = "data.init_args."
FREE = ("trainer.accumulate", "trainer.chunk_steps", f"{OF_DATA}memory_budget", f"{OF_DATA}cache")
"""Settings that may change on resume: they affect how a step is computed or where data are kept, not the result."""
PLACES = tuple(f"{OF_DATA}{name}" for name in ("groups", "times", "splits"))
"""What divides the data, beside their paths: it may change if the data themselves are compared."""
COLUMNS = f"{OF_DATA}columns"


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments, completed by the config of the resumed run if they name no config.

    Raises:
        ConfigError: If the directory holds no run, or ``--out`` names another directory.
    """
    words = list(arguments)
    more = _value_of(words, f"--{MORE}")
    if (folder := _value_of(words, f"--{RESUME}")) is None:
        if more is not None:
            raise ConfigError(f"--{MORE} {more} adds epochs to a finished run, but none is named. Name it by --resume.")
        return words
    config = Path(folder) / "config.yaml"
    if not config.is_file():
        raise ConfigError(f"{folder} holds no run to resume: it has no config.yaml. Name a directory that fit wrote.")
    check_no_comparison(Path(folder), "The same command compare goes on with it.")
    out = _value_of(words, "--out")
    if out is not None and Path(out).absolute() != Path(folder).absolute():
        raise ConfigError(f"--out {out} and --resume {folder} name two directories. Leave out --out to go on.")
    if more is not None:
        words.append(f"--{EPOCHS}={_epochs_of(config) + _count_of(more)}")
    return words if _value_of(words, "--config") else ["--config", str(config), *words]


def _count_of(more: str) -> int:
    if not more.isascii() or not more.isdecimal() or int(more) < 1:
        raise ConfigError(f"--{MORE} must be a whole number >= 1, but is {more}. Usual values are 10 to 100.")
    return int(more)


def _epochs_of(config: Path) -> int:
    """The epochs of fine-tuning in a run's config."""
    epochs = parse_yaml(resolve(config))["finetune"]["epochs"]
    assert isinstance(epochs, int)
    return epochs


def changed_keys(out: Path, text: str, *, data_recorded: bool = False) -> list[str]:
    """The dotted keys in which a resolved config differs from that of a run, except those in :data:`FREE`.

    Data may have been moved: their paths may change if the data themselves are compared. A setting that is missing in
    the config of an older version counts as its default, and missing columns as all columns.

    Args:
        out: The run directory.
        text: The resolved config.
        data_recorded: Whether the run has a fingerprint of its data; their paths are then left out, too.

    Raises:
        ConfigError: If the run's own config is not accepted.
    """
    before, now = (dict(_flat(parse_yaml(words))) for words in (resolve(out / "config.yaml"), text))
    missing = object()
    keys = (before.keys() | now.keys()) - {*FREE, *((*PLACES, *path_keys(text)) if data_recorded else ())}
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
