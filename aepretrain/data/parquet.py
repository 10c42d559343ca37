"""Tables in Parquet files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.decoded import DecodedData
from aepretrain.data.division import Division, OrderName
from aepretrain.data.float32 import check_digits, sampled_rows, sampled_within, to_float32
from aepretrain.data.left_out import files_left_out, index_left_out, partial_columns
from aepretrain.data.named_transforms import TransformName, make_transform
from aepretrain.data.origin import Origin, listed
from aepretrain.data.parquet_columns import describe_columns, read_column
from aepretrain.data.parquet_files import find_files, read_batches, read_files
from aepretrain.data.paths import user_path
from aepretrain.data.rows import PIECE
from aepretrain.data.targets import TargetType, read_targets
from aepretrain.data.words import count_of
from aepretrain.errors import DataError

CHECKS = 2
"""Version of what is checked while decoding: a cache that was checked for less is decoded again."""


class ParquetFolder(DecodedData):
    """A table in one Parquet file or a folder of Parquet files, whose numeric columns are the features.

    The table is decoded once into a float32 cache file, so it may be larger than memory. Decoding holds one row group
    of one file in memory. Needs ``pip install 'aepretrain[table]'``. The index of a pandas table is no feature, and
    hidden or temporary files are left out; notes say so.

    Args:
        root: The folder, whose ``.parquet`` files are read in the order of their paths, those in sub-folders too, or
            one file.
        target: Column or partition key with the labels: whole numbers, strings or booleans; those that occur are the
            classes, in sorted order. Or real numbers. Rows whose label is missing (or -1 among classes from 0 on) are
            for pretraining alone, except those of groups, times or splits that are held out. ``None``: no labels.
        columns: Feature columns, which hold numbers or lists of one length, in this order whatever their order in a
            file, and partition keys that are numbers (``year=2025``); ``None`` is all columns but those of labels,
            groups, times and splits, in the order of the first file.
        transform: none, standardize (mean 0, standard deviation 1), minmax (to [0, 1]) or rank_gauss (to a normal
            distribution by quantiles) of every feature, fitted on the training rows alone.
        more_inputs: A second file or folder with the same feature columns, whose rows are for pretraining alone; leave
            out those of the groups and times that are tested.
        cache: Folder for the cache file; ``None`` is ``~/.cache/aepretrain/decoded``.
        num_classes: Number of classes, where the labels are their numbers; ``None``: all labels that occur.
        target_type: What labels are: class, real (numbers, for regression), or auto: real if one has a fraction, or if
            they are whole numbers of many values with gaps (data/README.md has the rule).
        groups: Column or partition key with the group of every row, such as its subject or machine: a group stays in
            one split.
        order: How rows are divided: random, or time (training rows first, then validation, then test).
        times: Column with the time of every row, numbers or dates, for ``order`` time; ``None``: the rows stand in the
            order of time.
        splits: Column or partition key with the split of every row: train, validation or test; validation or test
            examples that no row names are taken from the training examples.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit.

    Raises:
        DataError: If a file cannot be read, columns differ or are not numeric, numbers do not fit float32, or labels
            are all missing, or neither classes nor numbers.
        ConfigError: If pyarrow is missing, or two settings divide the data.

    Example:
        >>> ParquetFolder("measurements/", target="failed", memory_budget="2GB").in_shape  # doctest: +SKIP
        (48,)
    """

    dtype = "float32"

    def __init__(
        self,
        root: str | Path,
        target: str | None = None,
        *,
        columns: list[str] | None = None,
        transform: TransformName = "none",
        more_inputs: str | Path | None = None,
        cache: str | Path | None = None,
        num_classes: int | None = None,
        target_type: TargetType = "auto",
        groups: str | None = None,
        order: OrderName = "random",
        times: str | None = None,
        splits: str | None = None,
        validation: int | None = None,
        test: int | None = None,
        labels: int | None = None,
        unlabelled: int | None = None,
        split_seed: int = 0,
        memory_budget: str | int | None = None,
    ) -> None:
        super().__init__(
            root,
            cache=cache,
            num_classes=num_classes,
            validation=validation,
            test=test,
            labels=labels,
            unlabelled=unlabelled,
            split_seed=split_seed,
            memory_budget=memory_budget,
        )
        self.transform = make_transform(transform)
        self.target = target
        self._roles = {"groups": groups, "times": times, "splits": splits}
        paths, left_out = find_files(self.root)
        self._files, self._more_files = read_files(self.root, paths), []
        self._note_files(left_out)
        for setting, name in {"target": target, **self._roles}.items():
            if name is not None:
                self._files[0].check_has(name, setting=f"data.{setting}")
        features = self._default_columns() if columns is None else list(columns)
        _check_names(features, {target: "labels", groups: "groups", splits: "splits"}, paths[0])
        if not features:
            raise DataError(f"{paths[0]} has no columns of features. Name some by data.columns.")
        more_paths = [] if more_inputs is None else find_files(user_path(more_inputs))[0]
        self._more_files = read_files(user_path(more_inputs), more_paths) if more_inputs is not None else []
        self._columns = describe_columns(features, [*self._files, *self._more_files])
        if self._more_files:
            self.notes.append(
                f"{count_of(self.count() - self.own_count, 'row')} of data.more_inputs for pretraining alone."
            )
        self.columns = features
        self.in_shape = (sum(column.width for column in self._columns),)
        self._note_columns(features)
        if columns is None:
            self.add_warnings(partial_columns(self._files, self._not_features, "data.columns"))
        self.num_classes = None
        if target is not None:
            labels_read = read_column(target, self._files)
            origin = Origin(self._place_of(target), self._row_counts())
            self.set_labels(
                read_targets(labels_read, self.own_count, origin, target_type=target_type, num_classes=num_classes)
            )
        self.set_division(self._division(order))

    def _division(self, order: OrderName) -> Division:
        values: dict[str, Any] = {
            noun: None if name is None else read_column(name, self._files, noun) for noun, name in self._roles.items()
        }
        names = [self._place_of(name) for name in self._roles.values()]
        giver = f"column {self._roles['splits']}"
        return Division.of(self.own_count, order=order, names=names, files=self._row_counts(), giver=giver, **values)

    @property
    def origin(self) -> Origin:
        features = [feature for column in self._columns for feature in column.features]
        return Origin(str(self.root), self._row_counts(), features)

    def _place_of(self, column: str | None) -> str:
        return f"{self.root}, column {column}"

    @property
    def _not_features(self) -> set[str | None]:
        """The columns of labels, groups, times and splits."""
        return {self.target, *self._roles.values()}

    def _row_counts(self) -> list[tuple[str, int]]:
        return [(str(file.path), file.rows) for file in (*self._files, *self._more_files)]

    def _default_columns(self) -> list[str]:
        """The columns of the first file that have no other role and are not the index of a pandas table."""
        index = self._files[0].index_columns()
        return [name for name in self._files[0].schema.names if name not in self._not_features and name not in index]

    def _note_files(self, left_out: Sequence[Path]) -> None:
        rows, files = self.own_count, len(self._files)
        self.notes.append(f"{self.root}: {rows:,} rows in {files} {'file' if files == 1 else 'files'}.")
        self.notes += files_left_out(self.root, left_out, ".parquet")

    def _note_columns(self, features: Sequence[str]) -> None:
        names, index = self._files[0].schema.names, self._files[0].index_columns()
        others = [name for name in names if name not in features and name not in self._not_features]
        self.unused = [name for name in others if name not in index]
        self.notes.append(f"features: {listed(features)}.")
        self.notes += index_left_out([name for name in others if name in index])
        if self.unused:
            self.notes.append(f"left out, not in data.columns: {listed(self.unused)}.")
        if keys := [name for name in self._files[0].keys if name not in features and name not in self._not_features]:
            self.notes.append(f"left out: the partition keys {listed(keys)}. Numbers among them may be data.columns.")

    def files(self) -> Sequence[Path]:
        return [file.path for file in (*self._files, *self._more_files)]

    def values_of(self, name: str) -> NDArray[Any] | None:
        """The values of a column as they stand in the files, in the order of the rows; ``None`` if a file lacks it."""
        if any(name not in file.schema.names and name not in file.keys for file in self._files):
            return None
        return read_column(name, self._files)

    def settings(self) -> dict[str, Any]:
        return {"columns": self.columns, "checks": CHECKS}

    @property
    def own_count(self) -> int:
        return sum(file.rows for file in self._files)

    def count(self) -> int:
        return self.own_count + sum(file.rows for file in self._more_files)

    def decode(self) -> Iterator[NDArray[Any]]:
        step, first = max(1, PIECE // (4 * self.in_shape[0])), 0
        sampled = sampled_rows(self.count())
        samples: list[list[NDArray[Any]]] = [[] for _ in self._columns]
        origins = [replace(self.origin, columns=column.features) for column in self._columns]
        names = [column.name for column in self._columns if not column.is_key]
        for file in (*self._files, *self._more_files):
            for batch in read_batches(file.path, step, names):
                parts = [
                    np.full((len(batch), 1), file.keys[column.name])
                    if column.is_key
                    else column.read(batch.column(column.name), origin, first)
                    for column, origin in zip(self._columns, origins, strict=True)
                ]
                chosen = sampled_within(sampled, first, len(batch))
                for sample, part in zip(samples, parts, strict=True):
                    sample.append(part[chosen])
                yield np.concatenate(
                    [to_float32(part, origin, first) for part, origin in zip(parts, origins, strict=True)], axis=1
                )
                first += len(batch)
        for sample, origin in zip(samples, origins, strict=True):
            if sample:
                check_digits(np.concatenate(sample), origin)


def _check_names(columns: Sequence[str], held: Mapping[str | None, str], path: Path) -> None:
    """Raise a DataError if a column is listed twice, or a column of labels, groups or splits as a feature."""
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(f"{path}: the column {twice[0]!r} is there twice. Name every feature once by data.columns.")
    for name in held.keys() & {*columns}:
        raise DataError(f"{path}: the column {name!r} holds the {held[name]}, and cannot be a feature. Leave it out.")
