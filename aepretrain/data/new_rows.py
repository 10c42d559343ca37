"""New rows for a finished run: from a file or folder, in its own order, without splits and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aepretrain.data.checks import check_inputs
from aepretrain.data.image_folder import ImageFolder
from aepretrain.data.mapped import MappedArray
from aepretrain.data.origin import Origin
from aepretrain.data.parquet import ParquetFolder
from aepretrain.data.rows import Inputs
from aepretrain.data.sparse_files import is_array
from aepretrain.data.table_files import is_table, open_table
from aepretrain.data.table_rows import TableRows, check_names
from aepretrain.data.table_transform import TableTransform
from aepretrain.data.transforms import Transform
from aepretrain.errors import DataError

PICTURE_SETTINGS = ("size", "grey", "background", "on_bad", "cache")
TABLE_SETTINGS = ("cache",)


@dataclass(frozen=True)
class NewRows:
    """Rows in the order of their file or folder.

    Args:
        x: Raw values, shape ``(N, *in_shape)``: those that an encoder takes.
        ids: What names each row, such as the path of a picture; ``None``: rows have numbers only.
        labels: Label of each row as it stands in the data; ``None``: there are none.
        notes: Sentences on what was read and what was left out.
    """

    x: Inputs
    ids: Sequence[str] | None = None
    labels: Sequence[Any] | None = None
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.x)


def open_new_rows(
    path: Path,
    in_shape: tuple[int, ...],
    *,
    columns: Sequence[str] | None,
    settings: Mapping[str, Any],
    transform: Transform | None = None,
) -> NewRows:
    """Open a file of an array, a table, or a folder of pictures. Its rows may exceed memory.

    A run that was trained on a :class:`~aepretrain.data.table.Table` takes CSV and Parquet files, others take Parquet
    files of numbers.

    Args:
        path: The file or folder.
        in_shape: Shape of one example of the run.
        columns: Names of the features of the run, in order; ``None``: they have no names.
        settings: Settings of the run's data source: those that say how pictures are read are taken, and ``target``.
        transform: The run's transform, which describes the columns of a table; ``None``: it is not known.

    Raises:
        DataError: If the path is missing or of an unknown kind, columns are missing, or rows have another shape or are
            not finite.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x.npy"
        >>> np.save(path, np.zeros((5, 4), np.float32))
        >>> len(open_new_rows(path, (4,), columns=None, settings={}))
        5
    """
    path = path.expanduser()
    if not path.exists():
        raise DataError(f"--data names {path}, which does not exist. Check the path.")
    if isinstance(transform, TableTransform):
        return _mixed_table(path, transform, settings)
    if is_array(path):
        rows = _array(path)
    elif path.suffix == ".parquet" or (path.is_dir() and any(path.rglob("*.parquet"))):
        rows = _table(path, columns, settings)
    elif path.is_dir():
        rows = _pictures(path, settings)
    else:
        kind = f"a table, but the run has inputs of shape {in_shape}" if is_table(path) else "of no known kind"
        raise DataError(
            f"--data names {path}, which is {kind}. Give a .npy file, a sparse .npz or .mtx file, a "
            ".parquet file or a folder of them, or a folder of pictures."
        )
    if tuple(rows.x.shape[1:]) != in_shape:
        raise DataError(
            f"{path} has rows of shape {tuple(rows.x.shape[1:])}, but the run was trained on {in_shape}. Give rows of "
            "that shape, raw as the run's own data were."
        )
    check_inputs(rows.x, in_shape, Origin(str(path)))
    return rows


def _array(path: Path) -> NewRows:
    data = MappedArray(str(path), scale="none")
    return NewRows(data.read()[0].raw(), notes=data.notes[:1])


def _table(path: Path, columns: Sequence[str] | None, settings: Mapping[str, Any]) -> NewRows:
    target = settings.get("target")
    data = ParquetFolder(
        str(path), columns=None if columns is None else list(columns), **_chosen(settings, TABLE_SETTINGS)
    )
    _check_rows(data.count(), path)
    labels = None if target is None else data.values_of(target)
    notes = [note for note in data.notes if not note.startswith("left out, not in data.columns")]
    return NewRows(data.read()[0].raw(), labels=None if labels is None else labels.tolist(), notes=notes)


def _check_rows(count: int, path: Path) -> None:
    if not count:
        raise DataError(f"--data names {path}, which has no rows. Name a table that has some.")


class _NewTable(TableRows):
    """All rows of a table, without labels."""

    @property
    def own_count(self) -> int:
        return self.count()


def _mixed_table(path: Path, transform: TableTransform, settings: Mapping[str, Any]) -> NewRows:
    if not is_table(path):
        raise DataError(
            f"--data names {path}, but the run was trained on a table. Give a CSV or Parquet file or folder."
        )
    parts = open_table(path, "--data", decimal=settings.get("decimal", "."))
    check_names(parts, [column.name for column in transform.columns], "other data by --data")
    data = _NewTable(path, parts, transform.columns, **_chosen(settings, TABLE_SETTINGS))
    _check_rows(data.count(), path)
    x, labels = data.read()[0].raw(), data.values_of(settings.get("target"))
    return NewRows(x, labels=labels, notes=[f"{path}: {data.count():,} rows.", *data.unknown_values()])


def _pictures(path: Path, settings: Mapping[str, Any]) -> NewRows:
    data = ImageFolder(str(path), **_chosen(settings, PICTURE_SETTINGS))
    x, y = data.read()
    kept = [data.files()[number] for number in x.numbers.tolist()]
    labels = None if y is None or data.class_names is None else [data.class_names[label] for label in y.tolist()]
    return NewRows(x.raw(), [str(file.relative_to(path)) for file in kept], labels, data.notes)


def _chosen(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}
