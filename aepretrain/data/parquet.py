"""Tables in Parquet files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aepretrain.data.checks import check_classes
from aepretrain.data.decoded import DecodedData
from aepretrain.data.transforms import TransformName, make_transform
from aepretrain.errors import ConfigError, DataError

PIECE = 4 << 20
"""Bytes decoded at once."""


class ParquetFolder(DecodedData):
    """A table in one Parquet file or a folder of Parquet files, whose numeric columns are the features.

    The table is decoded once into a float32 cache file, so it may be larger than memory. Decoding holds one row group
    of one file in memory. Needs ``pip install 'aepretrain[table]'``.

    Args:
        root: The folder, whose ``.parquet`` files are read in the order of their names, or one file.
        target: Column with the labels, whole numbers from 0; ``None`` for data without classes.
        columns: Feature columns, which hold numbers or lists of a fixed length, in this order whatever their order in
            a file; ``None`` is all but the target, in the order of the first file.
        transform: none, standardize (mean 0, standard deviation 1) or minmax (to [0, 1]) of every feature, fitted on
            the training rows alone.
        cache: Folder for the cache file; ``None`` is ``~/.cache/aepretrain/decoded``.
        num_classes: Number of classes; ``None`` is the largest label plus 1.
        validation: Number of examples for validation; ``None`` is a fifth, but at most 10,000.
        test: Number of examples for testing; ``None`` is a fifth, but at most 10,000.
        labels: Number of labelled training examples, balanced; ``None`` is all.
        unlabelled: Number of training examples set aside for pretraining alone.
        split_seed: Seed of the division into training, validation and test data.
        memory_budget: Memory for inputs and codes, such as 500MB, 2GB or a number of bytes; ``None`` is no limit.

    Raises:
        DataError: If a file cannot be read, columns differ or are not numeric, or labels are out of range.
        ConfigError: If pyarrow is missing.

    Example:
        >>> ParquetFolder("measurements/", target="failed", memory_budget="2GB").in_shape  # doctest: +SKIP
        (48,)
    """

    dtype = "float32"

    def __init__(
        self,
        root: str,
        target: str | None = None,
        *,
        columns: list[str] | None = None,
        transform: TransformName = "none",
        cache: str | None = None,
        num_classes: int | None = None,
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
        self._paths = [self.root] if self.root.is_file() else sorted(self.root.glob("*.parquet"))
        if not self._paths:
            raise DataError(f"{root} holds no .parquet files. Name a folder that does, or one file.")
        schema = _open(self._paths[0]).schema_arrow
        features = [name for name in schema.names if name != target] if columns is None else list(columns)
        _check_names(features, target, self._paths[0])
        self.columns = features
        self.unused = [name for name in schema.names if name not in features and name != target]
        self._schema = {name: _type(schema, name, self._paths[0]) for name in features}
        if not features:
            raise DataError(f"{self._paths[0]} has no columns of features. Name some by data.columns.")
        self.in_shape = (sum(_width(type_, name) for name, type_ in self._schema.items()),)
        self.num_classes = None
        if target is not None:
            self.y = torch.from_numpy(np.concatenate([_labels(path, target) for path in self._paths]))
            self.num_classes = check_classes(self.y, len(self.y), num_classes, f"{root}, column {target}")
            self.y = self.y.long()

    def files(self) -> Sequence[Path]:
        return self._paths

    def settings(self) -> dict[str, Any]:
        return {"columns": self.columns}

    def count(self) -> int:
        return sum(_open(path).metadata.num_rows for path in self._paths)

    def decode(self) -> Iterator[NDArray[Any]]:
        rows, names = max(1, PIECE // (4 * self.in_shape[0])), list(self._schema)
        for path in self._paths:
            file = _open(path)
            for name, type_ in self._schema.items():
                if _type(file.schema_arrow, name, path) != type_:
                    raise DataError(f"{path}: column {name} has not the type that it has in {self._paths[0]}.")
            try:
                for batch in file.iter_batches(rows, columns=names, use_threads=False):
                    yield np.concatenate([_values(batch.column(name)) for name in names], axis=1)
            except (OSError, ValueError) as error:
                raise DataError(f"{path} cannot be read: {_line(error)}. Write it again.") from error


def _open(path: Path) -> Any:
    """A Parquet file.

    Raises:
        ConfigError: If pyarrow is missing.
        DataError: If the file is damaged.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet files need pyarrow. Install it by pip install 'aepretrain[table]'.") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {_line(error)}. Write it again.") from error


def _type(schema: Any, name: str, path: Path) -> Any:
    if name not in schema.names:
        found = ", ".join(schema.names[:20]) + (", …" if len(schema.names) > 20 else "")
        raise DataError(
            f"{path} has no column {name!r}. It has {found}. Add the column to the file, or name others by "
            "data.columns and data.target."
        )
    return schema.field(name).type


def _check_names(columns: Sequence[str], target: str | None, path: Path) -> None:
    """Raise a DataError if a column is listed twice, or the label column is listed as a feature."""
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(f"{path}: the column {twice[0]!r} is there twice. Name every feature once by data.columns.")
    if target in columns:
        raise DataError(f"{path}: the column {target!r} holds the labels, and cannot be a feature. Leave it out.")


def _width(type_: Any, name: str) -> int:
    """Number of features in a column; a DataError if the column is not numeric."""
    from pyarrow import types

    numbers = type_.value_type if types.is_fixed_size_list(type_) else type_
    if not (types.is_floating(numbers) or types.is_integer(numbers) or types.is_boolean(numbers)):
        raise DataError(
            f"column {name} holds {type_} and no numbers. Encode it as numbers, or name the features by data.columns."
        )
    return type_.list_size if types.is_fixed_size_list(type_) else 1


def _values(column: Any) -> NDArray[np.float32]:
    """A column as float32, shape ``(n, width)``; missing values are NaN."""
    from pyarrow import types

    width = column.type.list_size if types.is_fixed_size_list(column.type) else 1
    if width > 1 and column.null_count:
        raise ValueError(f"a list is missing in {column.null_count} rows")
    flat = column.flatten() if types.is_fixed_size_list(column.type) else column
    return flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, width)


def _labels(path: Path, target: str) -> NDArray[Any]:
    file = _open(path)
    type_ = _type(file.schema_arrow, target, path)
    if _width(type_, target) != 1:
        raise DataError(f"{path}: labels must be one number per row. Name a column of whole numbers by data.target.")
    return file.read(columns=[target]).column(target).to_numpy()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
