"""The fingerprint of a data set: recorded with every result, so that data that changed are noticed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aepretrain.results.records import absent, to_plain
from aepretrain.storage.files import sha256

SHOWN = 5
"""Maximum number of names in a message."""


@dataclass(frozen=True)
class Part:
    """A part of the data, such as the labels.

    Args:
        shape: Its shape, with the number of rows first.
        sha256: SHA-256 of its values.
        rows: Number of rows whose values were read; ``None``: all.
    """

    shape: tuple[int, ...]
    sha256: str
    rows: int | None = absent()


@dataclass(frozen=True)
class FileFacts:
    """The files of data that are too large to be read whole.

    Args:
        count: Number of files.
        bytes: Their size in all.
        sizes: SHA-256 of their sizes, in order.
        times: SHA-256 of their modification times.
    """

    count: int
    bytes: int
    sizes: str
    times: str


@dataclass(frozen=True)
class Fingerprint:
    """What the data were: one digest per part, and the names of columns and classes.

    It does not depend on paths, label budgets, seeds, the memory budget or the number of processes.

    Args:
        parts: The parts by name, such as ``inputs`` and ``labels``.
        splits: Number of training, validation and test examples.
        columns: Names of the feature columns, in order.
        classes: Names of the classes, in the order of their labels.
        files: The files, if a part was not read whole.

    Example:
        >>> before = Fingerprint({"labels": Part((60,), "1f")}, (40, 10, 10), classes=("cat", "dog"))
        >>> now = Fingerprint({"labels": Part((60,), "2e")}, (40, 10, 10), classes=("dog", "fox"))
        >>> before.changes(now)
        ['the class names (fox instead of cat)', 'the labels (other values)']
    """

    parts: Mapping[str, Part]
    splits: tuple[int, ...]
    columns: tuple[str, ...] | None = absent()
    classes: tuple[str, ...] | None = absent()
    files: FileFacts | None = absent()

    @property
    def digest(self) -> str:
        """SHA-256 of all but the modification times."""
        files = None if self.files is None else replace(self.files, times="")
        return sha256(json.dumps(to_plain(replace(self, files=files)), sort_keys=True).encode())

    def changes(self, now: "Fingerprint") -> list[str]:
        """What differs in the data of now, in words; modification times do not count."""
        found = [
            *_changed_names("class names", self.classes or (), now.classes or ()),
            *_changed_names("column names", self.columns or (), now.columns or ()),
        ]
        names = list(dict.fromkeys([*self.parts, *now.parts]))
        for name in sorted(names, key=lambda name: not name.startswith("labels")):
            found += _changed_part(name, self.parts.get(name), now.parts.get(name))
        if not found and self.splits != now.splits:
            words = " instead of ".join(", ".join(map(str, each.splits)) for each in (now, self))
            found.append(f"the training, validation and test splits ({words} examples)")
        if self.files is not None and now.files is not None and not found and self.files.sizes != now.files.sizes:
            found.append(f"the sizes of the files ({_size(now.files)} instead of {_size(self.files)})")
        return found

    def was_rewritten(self, now: "Fingerprint") -> bool:
        """Whether files that are not read whole have other modification times."""
        return self.files is not None and now.files is not None and self.files.times != now.files.times


def _changed_part(name: str, before: Part | None, now: Part | None) -> list[str]:
    if before == now:
        return []
    if before is None or now is None:
        return [f"the {name} ({'none before' if before is None else 'missing now'})"]
    if before.shape != now.shape:
        return [f"the {name} (shape {now.shape} instead of {before.shape})"]
    return [f"the {name} (other values)"]


def _changed_names(what: str, before: Sequence[str], now: Sequence[str]) -> list[str]:
    if tuple(before) == tuple(now):
        return []
    gone, new = ([name for name in some if name not in others] for some, others in ((before, now), (now, before)))
    if gone and new:
        return [f"the {what} ({_listed(new)} instead of {_listed(gone)})"]
    if gone or new:
        return [f"the {what} ({_listed(gone or new)} {'missing' if gone else 'added'})"]
    return [f"the {what} (in another order)"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _size(files: FileFacts) -> str:
    return f"{files.count:,} files of {files.bytes:,} bytes"
