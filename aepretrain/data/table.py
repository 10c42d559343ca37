"""Tables with numbers, categories, dates and missing values."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.column_scan import ColumnScan, describe, scan
from aepretrain.data.columns import KindName, as_numbers
from aepretrain.data.division import Division, OrderName
from aepretrain.data.file_rows import FileRows
from aepretrain.data.frames import StoredFrame, is_frame
from aepretrain.data.left_out import files_left_out, index_left_out, partial_columns
from aepretrain.data.named_transforms import TransformName, make_transform
from aepretrain.data.origin import Origin, listed
from aepretrain.data.paths import user_path
from aepretrain.data.table_files import IN_FOLDERS, Batch, DecimalMark, TablePart, open_table, other_files
from aepretrain.data.table_rows import TableRows, check_names
from aepretrain.data.table_transform import TableTransform
from aepretrain.data.targets import TargetType, read_targets
from aepretrain.data.transforms import Transform
from aepretrain.data.words import count_of
from aepretrain.errors import ConfigError, DataError
from aepretrain.parts.corruptions import SwapNoise
from aepretrain.parts.likelihoods import Mixed


class Table(TableRows):
    """A table in a CSV or Parquet file, a folder of them, or a pandas, polars or Arrow table in memory.

    What each column holds is found by looking at all rows: ``boolean`` if all values are true and false, or 0 and 1;
    ``numeric`` if all are numbers; ``date`` if all are dates (2026-01-31, 2026-01-31 12:00); else ``category`` if it
    has at most 100 different texts, and not more than 20 or half as many as values. Other text is refused by name.
    Notes show the columns. Empty values, NA, N/A, NaN, null, None, #N/A and ? are missing.
    :class:`~aepretrain.data.table_transform.TableTransform` says how columns become features.

    Rows whose target is missing (or -1 among classes from 0 on) are for pretraining alone, except those of groups,
    times or splits that are held out.
    Needs ``pip install 'aepretrain[table]'``. The table is decoded once, piece by piece, into a float32 cache file, so
    it may be larger than memory; a table in memory is first written to a temporary file.

    Args:
        root: A file that ends in .csv, .tsv, .txt (also with .gz) or .parquet, a folder of CSV or of Parquet files, or
            a table in memory. The first line of a CSV file names the columns; its values are separated by ``,``, ``;``,
            ``|`` or tabs.
        target: Column with the labels: whole numbers, strings or booleans; those that occur are the classes, in sorted
            order. Or real numbers. ``None``: no labels.
        columns: What columns hold, where the rules above are wrong: numeric, boolean, date or category by name, such as
            ``{zip: category}``.
        drop: Columns that are left out.
        features: Feature columns, in this order; ``None`` is all that are not named by another setting, in the order of
            the first file.
        transform: Scaling of numbers and dates: none, standardize (mean 0, standard deviation 1), minmax (to [0, 1]) or
            rank_gauss (to a normal distribution by quantiles), fitted on the training rows alone.
        decimal: What stands before the decimals of numbers in text: a point or a comma.
        more_inputs: A second file or folder with the same feature columns, whose rows are for pretraining alone; leave
            out those of the groups and times that are tested.
        cache: Folder for the cache file; ``None`` is ``~/.cache/aepretrain/decoded``.
        num_classes: Number of classes, where the labels are their numbers; ``None``: all labels that occur.
        target_type: What labels are: class, real (numbers, for regression), or auto: real if one has a fraction, or if
            they are whole numbers of many values with gaps (data/README.md has the rule).
        groups: Column with the group of every row, such as its subject: a group stays in one split.
        order: How rows are divided: random, or time (training rows first, then validation, then test).
        times: Column with the time of every row, numbers or dates, for ``order`` time; ``None``: the rows stand in the
            order of time.
        splits: Column with the split of every row: train, validation or test; validation or test examples that no row
            names are taken from the training examples.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit.

    Raises:
        DataError: If a file cannot be read, columns are missing or hold text, values do not fit, or labels are
            neither classes nor numbers.
        ConfigError: If pyarrow is missing, or two settings divide the data.

    Example:
        >>> import pyarrow
        >>> mass, island = np.arange(60.0), ["Biscoe", "Dream", None] * 20
        >>> table = pyarrow.table({"mass": mass, "island": island, "sex": ["f", "m"] * 30})
        >>> data = Table(table, target="sex")
        >>> data.feature_names
        ['mass', 'island=Biscoe', 'island=Dream', 'island=other', 'island=missing']
        >>> data.layer_defaults["likelihood"]
        Mixed(gaussian=1, bernoulli=0, categorical=(4,))
    """

    def __init__(
        self,
        root: str | Path | Any,
        target: str | None = None,
        *,
        columns: dict[str, KindName] | None = None,
        drop: list[str] | None = None,
        features: list[str] | None = None,
        transform: TransformName = "standardize",
        decimal: DecimalMark = ".",
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
        self._frame = StoredFrame(root) if is_frame(root) else None
        if self._frame is not None:
            root, cache = self._frame.path, self._frame.path.parent if cache is None else cache
        if not isinstance(root, str | Path):
            raise ConfigError(
                f"data.root must be a path, or in Python a table, but is {root!r:.40}. Name a file or folder."
            )
        self.target = target
        self._roles = {"groups": groups, "times": times, "splits": splits}
        parts = open_table(user_path(root), decimal=decimal)
        more = [] if more_inputs is None else open_table(user_path(more_inputs), "data.more_inputs", decimal=decimal)
        names = _feature_names(parts[0], features, {"target": target, **self._roles}, drop, columns)
        check_names([*parts, *more], names)
        found = _Scan(parts, more, names, columns or {}, [target, *self._roles.values()])
        super().__init__(
            root,
            [*parts, *more],
            describe(found.scans, str(root)),
            found.counts,
            title=None if self._frame is None else "the table in memory",
            cache=cache,
            validation=validation,
            test=test,
            labels=labels,
            unlabelled=unlabelled,
            split_seed=split_seed,
            memory_budget=memory_budget,
        )
        self._own_count = sum(found.counts[: len(parts)])
        self.use_transform(TableTransform(self.table_columns, make_transform(transform)))
        self._note(parts, found.scans, drop or ())
        self.add_warnings([f"{self.title}: {sentence}" for each in found.scans for sentence in each.warnings])
        if features is None:
            self.add_warnings(partial_columns(parts, {target, *self._roles.values(), *(drop or ())}, "data.features"))
        self._set_labels(found.values.get(target), num_classes, target_type)
        self.set_division(self._division(order, found.values))

    @property
    def feature_names(self) -> Sequence[str]:
        return self._transform.feature_names

    @property
    def layer_defaults(self) -> dict[str, Any]:
        table = self._transform
        marks = len(table.boolean) + len(table.marked)
        likelihood = Mixed(len(table.numeric), marks, table.group_sizes)
        return {"likelihood": likelihood, "corruption": SwapNoise(groups=table.group_sizes)}

    def settled(self) -> dict[str, Any]:
        return {
            "features": list(self.columns or ()),
            "columns": {column.name: column.kind for column in self.table_columns},
        }

    def use_transform(self, transform: Transform) -> None:
        assert isinstance(transform, TableTransform)
        self.set_columns(transform.columns)
        self.in_shape = transform.out_shape(self.raw_shape)
        super().use_transform(transform)

    def read(self) -> tuple[FileRows, Tensor | None]:
        x, y = super().read()
        self.notes += [note for note in self.unknown_values() if note not in self.notes]
        return x, y

    @property
    def own_count(self) -> int:
        return self._own_count

    @property
    def _transform(self) -> TableTransform:
        assert isinstance(self.transform, TableTransform)
        return self.transform

    def _set_labels(self, values: NDArray[Any] | None, num_classes: int | None, target_type: TargetType) -> None:
        """Keep what labels are, and which rows have one; without a target, all rows are examples."""
        self.num_classes = None
        if values is not None:
            origin = Origin(self._place_of(self.target), self.row_counts())
            found = read_targets(values, self.own_count, origin, target_type=target_type, num_classes=num_classes)
            self.set_labels(found)

    def _division(self, order: OrderName, values: Mapping[str | None, NDArray[Any]]) -> Division:
        given: dict[str, Any] = {role: None if name is None else values[name] for role, name in self._roles.items()}
        names, giver = [self._place_of(name) for name in self._roles.values()], f"column {self._roles['splits']}"
        return Division.of(self.own_count, order=order, names=names, files=self.row_counts(), giver=giver, **given)

    def _place_of(self, column: str | None) -> str:
        return f"{self.title}, column {column}"

    def _note(self, parts: Sequence[TablePart], scans: Sequence[ColumnScan], drop: Sequence[str]) -> None:
        more = self.count() - self.own_count
        self.notes.append(f"{self.title}: {self.own_count:,} rows in {count_of(len(parts), 'file')}.")
        self.notes += files_left_out(self.root, other_files(self.root), ", ".join(IN_FOLDERS))
        if more:
            self.notes.append(f"{count_of(more, 'row')} of data.more_inputs for pretraining alone.")
        self.notes.append(f"columns: {listed([column.words for column in self.table_columns], 20)}.")
        self.notes += index_left_out(parts[0].index)
        if empty := [each.name for each in scans if each.is_empty]:
            self.notes.append(f"left out, without any value: {listed(empty)}.")
        used = {*(column.name for column in self.table_columns), *empty, self.target, *self._roles.values()}
        others = [name for name in parts[0].names if name not in used]
        self.unused = [name for name in others if name and name not in drop]
        if others:
            self.notes.append(f"left out: {listed([name or 'a column without a name' for name in others])}.")


class _Scan:
    """One look at all rows: what features hold, and the values of labels, groups, times and splits.

    Args:
        parts: The files of the examples.
        more: Files of rows for pretraining alone.
        names: Feature columns.
        kinds: What columns hold, where the user says so.
        others: Columns of labels, groups, times and splits, or ``None`` for those that are not named.
    """

    def __init__(
        self,
        parts: Sequence[TablePart],
        more: Sequence[TablePart],
        names: Sequence[str],
        kinds: Mapping[str, KindName],
        others: Iterable[str | None],
    ) -> None:
        self.scans = [ColumnScan(name, kinds.get(name), parts[0].decimal) for name in names]
        self.counts: list[int] = []
        wanted = list(dict.fromkeys(name for name in others if name is not None))
        pieces: dict[str, list[Any]] = {name: [] for name in wanted}
        for part in parts:
            scan(self.scans, self._counted(part, [*names, *wanted], pieces))
        for part in more:
            scan(self.scans, self._counted(part, names, {}))
        self.values: dict[str | None, NDArray[Any]] = {name: _joined(pieces[name]) for name in wanted}

    def _counted(self, part: TablePart, names: Sequence[str], pieces: Mapping[str, list[Any]]) -> Iterable[Batch]:
        self.counts.append(0)
        for batch in part.batches(list(dict.fromkeys(names))):
            self.counts[-1] += len(next(iter(batch.values())))
            for name, found in pieces.items():
                found.append(batch[name])
            yield batch


def _joined(pieces: Sequence[Any]) -> NDArray[Any]:
    """The values of Arrow arrays: numbers where all are, else as they are; missing ones are NaN, NaT or None."""
    from pyarrow import types

    numbers = [None if types.is_boolean(piece.type) else as_numbers(piece, "numeric") for piece in pieces]
    known = [found for found in numbers if found is not None]
    if len(known) == len(numbers):
        return np.concatenate([np.empty(0), *known])
    values = [piece.to_numpy(zero_copy_only=False) for piece in pieces]
    is_dated = all(found.dtype.kind == "M" for found in values)
    return np.concatenate(values if is_dated else [found.astype(object) for found in values])


def _feature_names(
    part: TablePart,
    features: Sequence[str] | None,
    roles: Mapping[str, str | None],
    drop: Sequence[str] | None,
    kinds: Mapping[str, str] | None,
) -> list[str]:
    """The feature columns: those that are named, or all of the first file without another role.

    Raises:
        DataError: If a setting names a column that is not there, or a feature has another role.
    """
    settings = {"columns": kinds or (), "drop": drop or (), "features": features or ()}
    settings |= {role: () if name is None else (name,) for role, name in roles.items()}
    for setting, names in settings.items():
        check_names([part], list(names), f"another by data.{setting}")
    held = {name: role for role, name in roles.items() if name is not None} | dict.fromkeys(drop or (), "drop")
    chosen = [name for name in part.names if name and name not in held] if features is None else list(features)
    for place, name in enumerate(chosen):
        if name in held:
            raise DataError(f"{part.path}: column {name!r} is named by data.{held[name]} and cannot be a feature.")
        if name in chosen[:place]:
            if features is None:
                raise DataError(f"{part.path}: the column {name!r} is there twice. Rename one of the two in the file.")
            raise DataError(f"{part.path}: data.features names the column {name!r} twice. Name it once.")
    if not chosen:
        raise DataError(f"{part.path} has no columns of features. Name some by data.features, or drop fewer.")
    return chosen
