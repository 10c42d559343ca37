"""Which files below a folder are pictures, and of which class and split each is."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aepretrain.data.given_splits import ORDER, SPLITS
from aepretrain.data.picture import endings
from aepretrain.data.words import SHOWN, count_of, list_of
from aepretrain.errors import DataError

SYSTEM_FOLDERS = ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found", "system volume information")
"""Folders that archives and file servers make; left out like hidden ones."""
UNLABELLED_FOLDERS = ("unlabelled", "unlabeled")
"""Folders beside class folders or splits, in capitals or not, whose pictures have no class."""
NO_CLASS = -1
"""Label of a picture without a class."""


@dataclass(frozen=True)
class PictureTree:
    """The pictures below a folder, in the order of torchvision's ``ImageFolder``, split by split.

    Args:
        paths: The pictures, among them links that lead nowhere.
        labels: Index of the class of each; :data:`NO_CLASS` for those in a folder named ``unlabelled``.
        classes: Names of the classes in alphabetical order; ``None``: there are no classes.
        splits: Split of each, ``train``, ``validation`` or ``test``; ``None``: no splits are given.
        folders: Folder of each given split.
        left_out: What was left out, such as "3 files ending in .txt".
        notes: Sentences on how the folder was read.
        warnings: Sentences on what looks wrong.
    """

    paths: list[Path]
    labels: list[int]
    classes: list[str] | None
    splits: list[str] | None
    folders: dict[str, Path]
    left_out: list[str]
    notes: list[str]
    warnings: list[str]


@dataclass
class _Level:
    """A folder of class folders: the root, or the folder of a split."""

    home: Path
    classes: dict[str, list[Path]]
    """Pictures by the name of the class folder, which may be empty."""
    loose: list[Path]
    """Pictures in no class folder."""
    unlabelled: list[Path] = field(default_factory=list)
    """Pictures in a folder for those without a class."""

    @property
    def filled(self) -> dict[str, list[Path]]:
        return {name: paths for name, paths in self.classes.items() if paths}

    @property
    def is_flat(self) -> bool:
        return not self.filled


def read_tree(root: Path) -> PictureTree:
    """Find the pictures below a folder.

    Sub-folders are classes. Folders for training, validation and test that lie alone in the root are splits, whose
    sub-folders are the classes. Pictures that lie in no sub-folder have no classes. A folder named ``unlabelled``,
    beside the classes or the splits, holds training pictures without a class.

    Raises:
        DataError: If there are no pictures, only one of several classes has pictures, classes differ between splits, or
            a folder cannot be read.

    Example:
        >>> from tempfile import mkdtemp
        >>> root = Path(mkdtemp())
        >>> for name in ("cat/1.png", "dog/1.JPG", "dog/notes.txt"):
        ...     (root / name).parent.mkdir(exist_ok=True)
        ...     (root / name).touch()
        >>> tree = read_tree(root)
        >>> tree.classes, tree.labels, tree.left_out
        (['cat', 'dog'], [0, 1], ['1 file ending in .txt'])
    """
    if not root.is_dir():
        raise DataError(f"data.root names {root}, which is a file. Name the folder of the pictures by --data.root.")
    sweep = _Sweep(root)
    entered, loose = sweep.enter(root)
    folders, apart = _set_apart(entered)
    homes = _split_folders(root, folders, sweep)
    if homes:
        sweep.leave_out(loose, f" beside the folders {list_of(home.name for home in homes.values())}")
        levels = {split: sweep.level(home, *sweep.enter(home)) for split, home in homes.items()}
    else:
        levels = {"": sweep.level(root, folders, loose)}
    first = next(iter(levels.values()))
    first.unlabelled += [path for folder in apart for path in sweep.below(folder)]
    classes = _classes(root, list(levels.values()), sweep)
    return _tree(levels, homes, classes, sweep)


@dataclass
class _Sweep:
    """Lists folders, and counts what it leaves out."""

    root: Path
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    outside: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._home = self.root.resolve()
        # A link to a folder above would bring all pictures into one class.
        self._seen |= {_identity(folder) for folder in self._home.parents}

    def level(self, home: Path, entered: Sequence[Path], loose: list[Path]) -> _Level:
        folders, apart = _set_apart(entered)
        # All class folders first, as a link in one may lead to another.
        listed = {folder: self.enter(folder) for folder in folders}
        classes = {folder.name: self._below(*listed[folder]) for folder in folders}
        level = _Level(home, classes, loose, [path for folder in apart for path in self.below(folder)])
        if not level.is_flat:
            self.leave_out(loose, f" beside the class folders of {home.name}")
        if level.is_flat and not loose:
            found = f" ({list_of(self.phrases())} lie there)" if self.left_out else ""
            raise DataError(
                f"{home} holds no sub-folders with pictures, and no pictures itself{found}. "
                f"Put pictures there, which end in {' '.join(sorted(endings()))}."
            )
        self.warnings += [
            f"the class folder {home / name} holds no pictures, and is no class. Fill or remove it."
            for name, paths in classes.items()
            if not paths
        ]
        return level

    def enter(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The folders and the pictures in a folder, both in the order of their names."""
        folders: list[Path] = []
        pictures: list[Path] = []
        try:
            identity = _identity(folder)
            if identity in self._seen:
                self.left_out["folder", " linked to another one of these or to one above"] += 1
                return folders, pictures
            self._seen.add(identity)
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    self._sort(entry, folders, pictures)
        except OSError as error:
            raise DataError(f"{folder} cannot be read: {error.strerror}. Make it readable, or move it away.") from error
        return folders, pictures

    def _sort(self, entry: os.DirEntry[str], folders: list[Path], pictures: list[Path]) -> None:
        path, ending, is_link = Path(entry.path), Path(entry.name).suffix.lower(), entry.is_symlink()
        is_folder = path.is_dir() if is_link else entry.is_dir()
        is_file = path.is_file() if is_link else entry.is_file()
        is_hidden = entry.name.startswith(".") or (is_folder and entry.name.lower() in SYSTEM_FOLDERS)
        if is_hidden:
            self.left_out["hidden folder" if is_folder else "hidden file", ""] += 1
            return
        if is_link and (is_folder or is_file):
            self.outside += not path.resolve().is_relative_to(self._home)
        if is_folder:
            folders.append(path)
        elif not is_file and not (is_link and not path.exists()):
            self.left_out["file", " of no regular kind (pipe, socket or device)"] += 1
        elif ending in endings():
            pictures.append(path)
        else:
            self.left_out["file", f" ending in {ending}" if ending else " without an ending"] += 1

    def below(self, folder: Path) -> list[Path]:
        """All pictures in a folder and below."""
        return self._below(*self.enter(folder))

    def _below(self, folders: Sequence[Path], pictures: Sequence[Path]) -> list[Path]:
        """All pictures in a folder and below, in the order of torchvision."""
        found, left = list(pictures), list(folders)
        while left:
            folders, pictures = self.enter(left.pop())
            found += pictures
            left += folders
        return sorted(found, key=lambda path: (str(path.parent), path.name))

    def leave_out(self, pictures: Sequence[Path], where: str) -> None:
        if pictures:
            self.left_out["picture", where] += len(pictures)
            self.warnings.append(
                f"{count_of(len(pictures), 'picture')}{where} left out ({list_of(path.name for path in pictures)}). "
                "Move what belongs to a class into its folder, and the rest into a folder named unlabelled."
            )

    def phrases(self) -> list[str]:
        """What was left out, such as "3 files ending in .txt", in the order of the numbers."""
        found = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        shown = [count_of(number, noun) + rest for (noun, rest), number in found[:SHOWN]]
        more = sum(number for _, number in found[SHOWN:])
        return shown + ([f"{more:,} others"] if more else [])


def _set_apart(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Folders of classes or splits, and those for pictures without a class, which stand beside others alone."""
    apart = [folder for folder in folders if folder.name.lower() in UNLABELLED_FOLDERS]
    others = [folder for folder in folders if folder not in apart]
    return (others, apart) if others else (list(folders), [])


def _split_folders(root: Path, folders: Sequence[Path], sweep: _Sweep) -> dict[str, Path]:
    """The folder of each given split, in the order train, validation, test; empty: the folders are classes."""
    named = [(SPLITS[folder.name.lower()], folder) for folder in folders if folder.name.lower() in SPLITS]
    found = dict(named)
    if len(named) < len(folders):
        others = [folder.name for folder in folders if folder.name.lower() not in SPLITS]
        if len(found) > 1:
            sweep.warnings.append(
                f"the folders {list_of(folder.name for _, folder in named)} are taken as classes, not as splits, as "
                f"{list_of(others)} lie beside them. If they are splits, move the others away."
            )
        return {}
    if len(found) < len(named):
        raise DataError(
            f"{root}: the folders {list_of(folder.name for folder in folders)} name a split twice. "
            "Keep one folder each for train, val and test."
        )
    if "train" not in found:
        if len(found) > 1:
            raise DataError(
                f"{root} has the folders {list_of(folder.name for folder in folders)}, but none with the name train. "
                "Add it, or give the folders names of classes."
            )
        return {}
    return {split: found[split] for split in ORDER if split in found}


def _classes(root: Path, levels: Sequence[_Level], sweep: _Sweep) -> list[str] | None:
    """The names of the classes, which must be the same in every split; ``None``: there are no classes."""
    names = sorted({name for level in levels for name in level.filled})
    wrong = [
        f"{level.home} has {'its pictures in no class folders, thus ' * level.is_flat}"
        f"no pictures of {list_of(name for name in names if name not in level.filled)}"
        for level in levels
        if len(level.filled) < len(names)
    ]
    if wrong:
        raise DataError(
            f"{'; '.join(wrong)}. Every split needs the same class folders with pictures: {list_of(names)}. "
            "Add pictures, or remove the folders that one split lacks."
        )
    if len(names) > 1 or not names:
        return names or None
    empty = sorted({name for level in levels for name in level.classes} - set(names))
    if empty:
        raise DataError(
            f"{root}: classes need pictures in at least 2 class folders, but only {names[0]} has some, and "
            f"{list_of(empty)} none. Fill them, or name {levels[0].home / names[0]} by data.root."
        )
    _warn_of_wrapper(levels[0], names[0], sweep)
    return None


def _warn_of_wrapper(level: _Level, name: str, sweep: _Sweep) -> None:
    """Warn if the only sub-folder holds what may be the class folders."""
    home = level.home / name
    inside = [path.relative_to(home).parts for path in level.filled[name]]
    folders = sorted({parts[0] for parts in inside if len(parts) > 1})
    if len(folders) > 1:
        sweep.warnings.append(
            f"the only sub-folder {home} holds folders of its own, {list_of(folders)}, which are not taken as classes "
            "or splits. If they are, name it by data.root."
        )


def _tree(levels: dict[str, _Level], homes: dict[str, Path], classes: list[str] | None, sweep: _Sweep) -> PictureTree:
    groups = [
        (split, 0 if classes is None else classes.index(name), paths)
        for split, level in levels.items()
        for name, paths in (level.filled or {"": level.loose}).items()
    ]
    groups += [(split, NO_CLASS, level.unlabelled) for split, level in levels.items()]
    if classes is None:  # all pictures are alike
        groups = [(split, 0, paths) for split, _, paths in groups]
    notes = [f"{count_of(sweep.outside, 'link')} lead out of {sweep.root}, and were followed."] if sweep.outside else []
    return PictureTree(
        paths=[path for _, _, paths in groups for path in paths],
        labels=[label for _, label, paths in groups for _ in paths],
        classes=classes,
        splits=[split for split, _, paths in groups for _ in paths] if homes else None,
        folders=homes,
        left_out=sweep.phrases(),
        notes=notes,
        warnings=sweep.warnings,
    )


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino
