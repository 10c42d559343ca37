"""Convert frozen dataclasses to plain JSON values and back, with errors that name the key."""

import math
import re
import reprlib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from aepretrain.errors import StorageError
from aepretrain.storage.json_files import read_json, write_json

Record = TypeVar("Record")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
LONGEST = 40
"""Maximum number of characters of an invalid value in an error message."""
LARGEST = 2**63
"""Numbers reach from minus to plus this value: whole ones fit 64 bits, and all can be converted to floats."""
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 4 * LONGEST
DEEPEST = 20
"""Maximum depth of values of any kind."""


def absent() -> Any:
    """Dataclass field that defaults to ``None`` and whose key is not written while it is ``None``."""
    return field(default=None, metadata={"absent": True})


def to_plain(value: Any) -> Any:
    """Convert a record to dictionaries, lists and scalars. NaN stays NaN.

    Example:
        >>> from aepretrain.results.stage import StageLosses
        >>> to_plain({"losses": StageLosses(train=2.0, validation=1.5, reconstruction=1.0)})
        {'losses': {'train': 2.0, 'validation': 1.5, 'reconstruction': 1.0}}
    """
    if is_dataclass(value):
        kept = [each for each in fields(value) if not (_may_be_absent(each) and getattr(value, each.name) is None)]
        return {each.name: to_plain(getattr(value, each.name)) for each in kept}
    if isinstance(value, Mapping):
        return {key: to_plain(entry) for key, entry in value.items()}
    return [to_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def from_plain(kind: type[Record], values: Any) -> Record:
    """Build a record from plain values. Unknown keys are ignored; for a ``float``, null becomes NaN.

    Args:
        kind: The dataclass; its annotations define the type of every key.
        values: The output of :func:`to_plain`, possibly read back from a file.

    Raises:
        ValueError: If a key is missing or has the wrong type; the message names it, such as ``stages[0].losses``.

    Example:
        >>> from aepretrain.results.stage import StageLosses
        >>> from_plain(StageLosses, {"train": 2, "validation": 1.5, "reconstruction": 1.0})
        StageLosses(train=2, validation=1.5, reconstruction=1.0)
        >>> from_plain(StageLosses, {"train": "low"})
        Traceback (most recent call last):
        ValueError: train must be a number, but is 'low'
    """
    return cast(Record, _build(kind, values, ""))


class FileRecord:
    """A record with a file of its own, such as ``results.json``."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            StorageError: If it is missing, damaged or lacks a key.
        """
        return read_record(cls, path)

    def write(self, path: Path) -> None:
        """Write the file atomically, with NaN and infinity as null, from the first process only.

        Raises:
            StorageError: If it cannot be written; the previous file is unchanged.
        """
        write_record(path, self)


def read_record(kind: type[Record], path: Path) -> Record:
    """Read a record from its JSON file.

    Raises:
        StorageError: If the file is missing or damaged, or a key is missing or has the wrong type.
    """
    try:
        return from_plain(kind, read_json(path))
    except ValueError as error:
        raise StorageError(f"{path} cannot be read: {error}. Remove its folder to run it again.") from error


def write_record(path: Path, record: Any) -> None:
    """Write a record atomically, with NaN and infinity as null, from the first process only.

    Raises:
        StorageError: If it cannot be written; the previous file is unchanged.
    """
    write_json(path, to_plain(record))


def check_range(record: Any, *names: str, least: float = 0, most: float = math.inf) -> None:
    """Raise a ValueError if one of these fields, each a number, NaN, ``None`` or several of them, is out of range."""
    for name in names:
        value = getattr(record, name)
        for each in value if isinstance(value, list | tuple) else (value,):
            if each is not None and not math.isnan(each) and not least <= each <= most:
                rule = f"be >= {least}" if most == math.inf else f"be <= {most}"
                rule = rule if math.inf in (-least, most) else f"lie in [{least}, {most}]"
                raise ValueError(f"{name} must {rule}, but is {each}")


def check_name(key: str, name: str) -> None:
    """Raise a ValueError if a name that is part of a path could lead elsewhere."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"{key} must have letters, digits, '_', '-' and '.' alone, but is {shown(name)}")


def shown(value: Any) -> str:
    """A value of a file as it is shown in a message: of a long or nested one, the beginning.

    Example:
        >>> shown([1, "a"]), shown("b" * 99)
        ("[1, 'a']", "'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...")
    """
    text = SHORT.repr(value)  # it looks at the beginning alone
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _shown_key(name: str) -> str:
    """A key of a file as it is shown in a message: as it is if it is a plain word, else quoted."""
    return name if re.fullmatch(r"[\w./ -]{1,40}", name) else shown(name)


def _may_be_absent(each: Field[Any]) -> bool:
    return bool(each.metadata.get("absent"))


def _build(kind: Any, value: Any, key: str) -> Any:
    """Convert plain values to a type.

    Args:
        kind: The type, as written in an annotation.
        value: The plain values.
        key: The path of the value in the file.
    """
    origin = get_origin(kind)
    if kind is Any:
        return _checked(_is_shallow(value, DEEPEST), value, key, f"nested at most {DEEPEST} deep")
    if is_dataclass(kind):
        return _build_record(kind, value, key)
    if origin in (Union, types.UnionType):
        return _build_first(get_args(kind), value, key)
    if origin is Literal:
        return _checked(value in get_args(kind), value, key, " or ".join(map(repr, get_args(kind))))
    if origin in (list, tuple):
        return _build_list(kind, _checked(isinstance(value, list | tuple), value, key, "a list"), key)
    if origin is not None and issubclass(origin, Mapping):
        entries = _checked(isinstance(value, Mapping), value, key, "a group of keys")
        return {name: _build(get_args(kind)[1], entry, _join(key, _shown_key(name))) for name, entry in entries.items()}
    if kind is float and value is None:
        return math.nan
    fits = isinstance(value, int | float if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    _checked(fits, value, key, WORDS[kind])
    return _checked(not isinstance(value, int) or -LARGEST <= value < LARGEST, value, key, "a number of 64 bits")


def _build_record(kind: Any, value: Any, key: str) -> Any:
    entries = _checked(isinstance(value, Mapping), value, key, "a group of keys")
    hints = get_type_hints(kind)
    found = {}
    for each in fields(kind):
        if each.name in entries:
            found[each.name] = _build(hints[each.name], entries[each.name], _join(key, each.name))
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{_join(key, each.name)} is missing")
    try:
        return kind(**found)
    except ValueError as error:
        raise ValueError(_join(key, str(error))) from error


def _build_first(kinds: tuple[Any, ...], value: Any, key: str) -> Any:
    """Convert to the first matching type of a union; null is ``None``, not NaN, if the union allows it."""
    if value is None and types.NoneType in kinds:
        return None
    for kind in (others := [each for each in kinds if each is not types.NoneType]):
        try:
            return _build(kind, value, key)
        except ValueError:
            if kind is others[-1]:
                raise
    raise AssertionError("a union of nothing")


def _build_list(kind: Any, values: Any, key: str) -> Any:
    """Convert to ``list[X]`` or ``tuple[X, ...]`` of any length, or ``tuple[X, Y]`` of its own length."""
    kinds = get_args(kind)
    if get_origin(kind) is list or kinds[1:] == (...,):
        kinds = kinds[:1] * len(values)
    _checked(len(values) == len(kinds), values, key, f"a list of {len(kinds)}")
    places = enumerate(zip(kinds, values, strict=True))
    return get_origin(kind)(_build(each, entry, f"{key}[{place}]") for place, (each, entry) in places)


def _is_shallow(value: Any, deepest: int) -> bool:
    entries = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return deepest >= 0 and all(_is_shallow(entry, deepest - 1) for entry in entries)


def _checked(fits: bool, value: Any, key: str, words: str) -> Any:
    if not fits:
        raise ValueError(f"{key or 'the file'} must be {words}, but is {shown(value)}")
    return value


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)
