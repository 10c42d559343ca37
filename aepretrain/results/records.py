"""Frozen dataclasses as plain values of JSON files, and back, with errors that name the key."""

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
"""Characters of a wrong value that an error shows."""


def absent() -> Any:
    """A field that is ``None`` unless it is given, and whose key the file does not have while it is ``None``."""
    return field(default=None, metadata={"absent": True})


def to_plain(value: Any) -> Any:
    """A record in dictionaries, lists and scalars. NaN stays NaN.

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
    """A record from plain values. Keys that it does not know are left out; for a ``float``, null is NaN.

    Args:
        kind: The dataclass; its annotations say what every key must hold.
        values: What :func:`to_plain` gave, or what a file of it holds.

    Raises:
        ValueError: If a key is missing or holds another type; the message names it, such as ``stages[0].losses``.

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
    """A record from its JSON file.

    Raises:
        StorageError: If the file is missing, damaged or lacks a key.
    """
    try:
        return from_plain(kind, read_json(path))
    except ValueError as error:
        raise StorageError(f"{path} cannot be read: {error}. Remove its folder to run it again.") from error


def write_record(path: Path, record: Any) -> None:
    """Write a record whole or not at all, NaN as null.

    Raises:
        StorageError: If it cannot be written; what was there before stays.
    """
    write_json(path, to_plain(record))


def _may_be_absent(each: Field[Any]) -> bool:
    return bool(each.metadata.get("absent"))


def _build(kind: Any, value: Any, key: str) -> Any:
    """The value as this type.

    Args:
        kind: A type as it stands in an annotation.
        value: Plain values.
        key: Where the value stands in the file.
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
    """The value as the first of several types that it fits; null is no number where it is allowed as such."""
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
    """``list[X]`` and ``tuple[X, ...]`` of any length, ``tuple[X, Y]`` of its own."""
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
