"""The way out where a file or a folder is named in a place that takes something else."""

import os
import shlex
from pathlib import Path

from aepretrain.data.picture import endings
from aepretrain.data.sparse_files import is_array
from aepretrain.data.table_files import ENDINGS, is_table

CONFIGS = (".yaml", ".yml")
SHEETS = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".feather")
TABLES = (*SHEETS, ".h5", ".hdf5", ".mat", ".pt")


def looks_like_file(word: str) -> bool:
    """Whether a word names a file or a folder: one that exists, a path, or a name with an ending of data.

    Example:
        >>> [looks_like_file(word) for word in ("table.csv", "./x", "Digits", "my_parts.MyData")]
        [True, True, False, False]
    """
    known = (*CONFIGS, *TABLES, ".py", *endings())
    return (
        "/" in word
        or word.lower().endswith(ENDINGS)
        or is_array(Path(word))
        or "\\" in word
        or Path(word).suffix.lower() in known
        or os.path.exists(word)
    )


def how_to_read(word: str) -> str:
    """The arguments that read a file or folder as data, as a sentence.

    Example:
        >>> how_to_read("x.npy")
        'Name it by --data MappedArray --data.x x.npy, and its labels by --data.y FILE.'
    """
    path, ending, word = Path(word), Path(word).suffix.lower(), shlex.quote(word)
    if os.path.isdir(path):
        has_pictures = any(file.suffix.lower() in endings() for file in path.rglob("*"))
        return (
            f"Name it by --data {'Table' if is_table(path) and not has_pictures else 'ImageFolder'} --data.root {word}."
        )
    if is_array(path):
        return f"Name it by --data MappedArray --data.x {word}, and its labels by --data.y FILE."
    if is_table(path):
        return f"Name it by --data Table --data.root {word}, and its labels by --data.target COLUMN."
    if ending in endings():
        return "Put pictures into a folder, and name it by --data ImageFolder --data.root FOLDER."
    if ending == ".py":
        return f"Name a class in it by --data {path.stem}.CLASS --trust-module {path.stem}."
    if ending in TABLES:
        return how_to_convert(path)
    return "Arrays are named by --data MappedArray --data.x FILE.npy, tables by --data Table --data.root FILE."


def how_to_convert(path: Path) -> str:
    """How to convert a file that no source reads, as a sentence."""
    if path.suffix.lower() in SHEETS:
        return (
            f"No source reads {path.suffix} files. Save it as .csv or .parquet, and name that by --data Table "
            f"--data.root {path.stem}.csv --data.target COLUMN."
        )
    return (
        f"No source reads {path.suffix} files. Save its numbers by np.save('x.npy', array), and name them by --data "
        "MappedArray --data.x x.npy."
    )


def stray_word(word: str) -> str:
    """The message for a word that stands where an option is expected.

    Example:
        >>> stray_word("digits.yaml")
        'digits.yaml stands without an option. A config is named by --config digits.yaml.'
    """
    path = Path(word)
    if path.suffix.lower() in CONFIGS:
        way = f"A config is named by --config {shlex.quote(word)}."
    elif os.path.isfile(path / "config.yaml"):
        config = shlex.quote(str(path / "config.yaml"))
        way = f"A stopped run goes on by fit --resume {shlex.quote(word)}, and --config {config} takes its settings."
    elif looks_like_file(word):
        way = how_to_read(word)
    else:
        way = "Settings are written as --NAME VALUE; --help after the verb lists them."
    return f"{word} stands without an option. {way}"
