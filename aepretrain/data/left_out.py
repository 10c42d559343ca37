"""Files and columns that the sources of tables leave out, in sentences for the user."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from aepretrain.data.origin import listed

SHOWN = 5
"""Number of files that a sentence lists."""


class NamedColumns(Protocol):
    """A file and the names of its columns, without the index of a pandas table."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def names(self) -> list[str]:
        """Its columns and partition keys."""


def files_left_out(root: Path, paths: Sequence[Path], kind: str) -> list[str]:
    """A note on files below a folder that are not read, or nothing.

    Args:
        root: The folder.
        paths: The files.
        kind: Endings of the files that are read.

    Example:
        >>> files_left_out(Path("birds"), [Path("birds/_SUCCESS"), Path("birds/.a.csv")], ".csv")
        ['files left out, as hidden, temporary or not .csv: _SUCCESS, .a.csv.']
    """
    if not paths:
        return []
    names = listed([path.relative_to(root) for path in paths], SHOWN)
    return [f"files left out, as hidden, temporary or not {kind}: {names}."]


def index_left_out(names: Sequence[str]) -> list[str]:
    """A note on the index of a pandas table, or nothing.

    Example:
        >>> index_left_out(["__index_level_0__"])
        ['left out: __index_level_0__, the index of a pandas table, which numbers or names rows.']
    """
    if not names:
        return []
    return [f"left out: {listed(names)}, the index of a pandas table, which numbers or names rows."]


def partial_columns(files: Sequence[NamedColumns], known: Collection[str | None], setting: str) -> list[str]:
    """Warnings on columns that the first file does not have, so that they are left out.

    Args:
        files: All files of a table.
        known: Columns that have another role or are left out by the user.
        setting: The setting that names features.
    """
    others = {*known, *files[0].names}
    having: dict[str, list[Path]] = {}
    for file in files:
        for name in file.names:
            if name and name not in others:
                having.setdefault(name, []).append(file.path)
    return [
        f"column {name} is in {len(paths)} of {len(files)} files ({listed(paths, 3)}), but not in {files[0].path}: it "
        f"is left out. Add it to all files, or name the features by {setting}."
        for name, paths in having.items()
    ]
