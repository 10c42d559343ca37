"""One value per picture, such as its subject: taken from its path, or from a list of pictures."""

import re
from collections.abc import Sequence
from pathlib import Path

from aepretrain.data.value_files import read_csv
from aepretrain.data.words import count_of, list_of
from aepretrain.errors import ConfigError, DataError


def values_of_pictures(setting: str, paths: Sequence[Path], root: Path, noun: str) -> list[str]:
    r"""The value of every picture.

    Args:
        setting: A ``.csv`` file with the path of a picture below the root and its value in every line, named by its own
            path below the root or an absolute one; or a regular expression that is searched in the path of a picture
            below the root, with slashes, and whose first pair of parentheses holds the value.
        paths: The pictures.
        root: The folder of the pictures.
        noun: What the values are: groups, times or splits.

    Raises:
        ConfigError: If the regular expression cannot be read, or has no parentheses.
        DataError: If the list cannot be read, or a picture has no value.

    Example:
        >>> paths = [Path("eyes/left/anna-1.png"), Path("eyes/left/bert-1.png"), Path("eyes/right/anna-2.png")]
        >>> values_of_pictures(r"(\w+)-\d+\.png", paths, Path("eyes"), "groups")
        ['anna', 'bert', 'anna']
    """
    names = [path.relative_to(root).as_posix() for path in paths]
    if setting.lower().endswith(".csv"):
        listed = _read_list(root / Path(setting).expanduser())
        found = [listed.get(name) for name in names]
        way = f"Add lines with path,{noun.removesuffix('s')} to it, or move these pictures away."
    else:
        found = _search(setting, names, noun)
        way = f"Change data.{noun}, or move these pictures away."
    lacking = [name for name, value in zip(names, found, strict=True) if not value]
    if lacking:
        raise DataError(
            f"data.{noun} {setting} must name the {noun.removesuffix('s')} of every picture in {root}, but does not "
            f"for {len(lacking):,} of {count_of(len(names), 'picture')}: {list_of(lacking)}. {way}"
        )
    return [str(value) for value in found]


def _search(setting: str, names: Sequence[str], noun: str) -> list[str | None]:
    try:
        pattern = re.compile(setting)
    except re.error as error:
        raise ConfigError(
            f"data.{noun} must be a regular expression or a .csv file, but {setting!r} is neither: {error}. Quote it "
            "in single quotes."
        ) from error
    if not pattern.groups:
        raise ConfigError(
            f"data.{noun} {setting!r} has no parentheses around the {noun.removesuffix('s')}. Write for example "
            r"'(\w+)-\d+\.png', or name a .csv file."
        )
    matches = [pattern.search(name) for name in names]
    return [None if match is None else match[1] for match in matches]


def _read_list(path: Path) -> dict[str, str]:
    """The value of every picture that a file lists."""
    found: dict[str, str] = {}
    for number, line in enumerate(read_csv(path)):
        if not line:
            continue
        if len(line) != 2:
            raise DataError(
                f"{path}: a line must hold a path and a value, but line {number + 1} holds "
                f"{count_of(len(line), 'value')}. Write path,value."
            )
        name, value = line[0].removeprefix("./"), line[1]
        if found.setdefault(name, value) != value:
            raise DataError(f"{path}: {name} stands there twice, with {found[name]!r} and {value!r}. Keep one line.")
    return found
