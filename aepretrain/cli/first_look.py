"""A first look at data that a config is to be written for: the source that reads them, and what it noticed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aepretrain.cli.named_files import how_to_convert
from aepretrain.data import CIFAR10, MNIST, DataModule, Digits, FashionMNIST, ImageFolder, MappedArray, Table
from aepretrain.data.column_scan import ColumnScan, describe, scan
from aepretrain.data.picture import endings
from aepretrain.data.rows import pieces
from aepretrain.data.sparse_files import is_array, is_sparse
from aepretrain.data.stored import HELD_OUT
from aepretrain.data.table_files import DecimalMark, is_table, open_table
from aepretrain.errors import ConfigError, DataError

NAMED: dict[str, type[DataModule]] = {cls.__name__: cls for cls in (Digits, MNIST, FashionMNIST, CIFAR10)}
"""Data sets that are known by name."""
SIDE = 32
"""Pixels that pictures of different sizes are scaled to."""
BUDGET = 2 * 10**9
"""Bytes of memory beyond which arrays stay in their file."""
MOST_CLASSES = 20
"""Different values of a column up to which it may be a target."""


@dataclass(frozen=True)
class FirstLook:
    """What a first look at data found.

    Args:
        data: The source, not read yet.
        settings: Settings of the source that the config names.
        remarks: Remarks on settings, by name, for comments.
        hints: Sentences on what the user may want to change.
    """

    data: DataModule
    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    hints: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The name of the file or folder, or of the data set."""
        place = self.settings.get("root") or self.settings.get("x")
        return self.data.name if place is None else Path(place).name


def look_at(place: str, target: str | None) -> FirstLook:
    """Find the source that reads a file, a folder or a named data set.

    Args:
        place: A table (CSV or Parquet), an array (``.npy``, sparse ``.npz`` or ``.mtx``), a folder of pictures, or the
            name of a data set.
        target: Column with the labels, or for an array the file with the labels; ``None``: no labels.

    Raises:
        ConfigError: If there is no such file or data set, or ``target`` does not fit.
        DataError: If the data cannot be read.

    Example:
        >>> look_at("Digits", None).data.in_shape
        (1, 8, 8)
    """
    path = Path(place).expanduser()
    if place in NAMED and not path.exists():
        _refuse_target(target, f"{place} has labels of its own")
        return FirstLook(NAMED[place]())
    if not path.exists():
        raise ConfigError(
            f"--data names {place}, which is no file, no folder and none of {', '.join(NAMED)}. Check the path."
        )
    if is_array(path):
        return _look_at_array(place, target)
    if path.is_dir() and any(file.suffix.lower() in endings() for file in path.rglob("*")):
        _refuse_target(target, "the folders of pictures name their classes")
        return _look_at_pictures(place)
    if is_table(path):
        return _look_at_table(place, target)
    way = how_to_convert(path) if path.is_file() else "Name a folder that holds tables or pictures."
    raise DataError(f"{place} is nothing that a source reads. {way}")


def _refuse_target(target: str | None, reason: str) -> None:
    if target is not None:
        raise ConfigError(f"--target {target} is for tables and arrays, but {reason}. Leave it out.")


def _look_at_table(place: str, target: str | None, decimal: DecimalMark = ".") -> FirstLook:
    parts = open_table(Path(place).expanduser(), "--data", decimal=decimal)
    scans = [ColumnScan(name) for name in parts[0].names if name and name != target]
    for part in parts:
        scan(scans, part.batches([each.name for each in scans if each.name in part.names]))
    if decimal == "." and any(each.has_decimal_commas for each in scans):
        return _look_at_table(place, target, ",")
    if all(each.is_empty or each.found is None for each in scans):
        describe(scans, place)
    refused = [each for each in scans if not each.is_empty and each.found is None]
    settings: dict[str, Any] = {
        "root": place,
        "target": target,
        "decimal": decimal,
        "drop": [each.name for each in refused],
    }
    given = {name: value for name, value in settings.items() if value and value != "."}
    data = Table(**given)
    remarks = {"drop": "no feature: " + "; ".join(each.words for each in refused)} if refused else {}
    if decimal == ",":
        remarks["decimal"] = "commas in numbers are decimal points; points, if any, separate thousands"
    hints = [f"left out, since it is no feature: {each.words}." for each in refused]
    if target is None and (names := _possible_targets(scans)):
        hints.append(f"no target is named, so nothing is classified; it could be {', '.join(names)} (--target).")
    given |= {"columns": {column.name: column.kind for column in data.table_columns}}
    return FirstLook(data, given, remarks, hints)


def _possible_targets(scans: Sequence[ColumnScan]) -> list[str]:
    return [each.name for each in scans if each.found == "category" and 1 < len(each.counts) <= MOST_CLASSES]


def _look_at_array(place: str, target: str | None) -> FirstLook:
    settings: dict[str, Any] = {"x": place} if target is None else {"x": place, "y": target}
    data, remarks = MappedArray(**settings, memory_budget=BUDGET), {}
    row_bytes = 4 * math.prod(data.in_shape)
    if 2 * data.count() * row_bytes > BUDGET:
        held_out = min(HELD_OUT, data.count() // 5, BUDGET // 4 // row_bytes)
        settings |= {"memory_budget": BUDGET, "validation": held_out, "test": held_out}
        remarks["memory_budget"] = "bytes; as dense float32 the rows are larger, and are read during training"
        data = MappedArray(**settings)
    low, high = value_range(data)
    if low >= 0 and high <= 1:
        return FirstLook(data, settings, remarks)
    settings["transform"] = "minmax" if is_sparse(place) and low >= 0 else "standardize"
    remarks["transform"] = f"values reach from {low:.3g} to {high:.3g}; or standardize, minmax, rank_gauss, none"
    return FirstLook(MappedArray(**settings), settings, remarks)


def value_range(data: DataModule) -> tuple[float, float]:
    """The least and the largest value of the training inputs."""
    parts = [(part.min().item(), part.max().item()) for part in pieces(data.splits().unlabelled)]
    return min(low for low, _ in parts), max(high for _, high in parts)


def _look_at_pictures(place: str) -> FirstLook:
    settings: dict[str, Any] = {"root": place}
    try:
        data = ImageFolder(place)
        data.splits()
        return FirstLook(data, settings)
    except DataError as error:
        if "--data.size" not in str(error):
            raise
    settings["size"] = SIDE
    return FirstLook(ImageFolder(place, size=SIDE), settings, {"size": "the pictures have different sizes"})
