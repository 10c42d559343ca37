"""Convert frozen dataclasses to plain JSON values and back, with errors that name the key."""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from aepretrain.errors import StorageError
from aepretrain.storage.json_files import read_json, write_json

Record = TypeVar("Record")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
LONGEST = 40
"""Maximum number of characters of an invalid value in an error message."""


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
        return value
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
        return {name: _build(get_args(kind)[1], entry, _join(key, name)) for name, entry in entries.items()}
    if kind is float and value is None:
        return math.nan
    fits = isinstance(value, int | float if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    return _checked(fits, value, key, WORDS[kind])


def _build_record(kind: Any, value: Any, key: str) -> Any:
    entries = _checked(isinstance(value, Mapping), value, key, "a group of keys")
    hints = get_type_hints(kind)
    found = {}
    for each in fields(kind):
        if each.name in entries:
            found[each.name] = _build(hints[each.name], entries[each.name], _join(key, each.name))
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{_join(key, each.name)} is missing")
    return kind(**found)


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


def _checked(fits: bool, value: Any, key: str, words: str) -> Any:
    if not fits:
        shown = repr(value)
        shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."
        raise ValueError(f"{key or 'the file'} must be {words}, but is {shown}")
    return value


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else str(name)
