"""Tables in memory, such as those of pandas, polars and Hugging Face, as a Parquet file that a source reads."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from aepretrain.data.table_files import check_pyarrow
from aepretrain.errors import DataError


def is_frame(table: Any) -> bool:
    """Whether an object is a table that Arrow can take: of pyarrow, pandas, polars, datasets or another.

    Example:
        >>> import pyarrow
        >>> is_frame(pyarrow.table({"a": [1]})), is_frame("table.csv")
        (True, False)
    """
    return _is_dataset(table) or any(
        hasattr(table, name) for name in ("__arrow_c_stream__", "to_arrow", "__dataframe__")
    )


def _is_dataset(table: Any) -> bool:
    """Whether an object is of Hugging Face's ``datasets``."""
    return type(table).__module__.partition(".")[0] == "datasets"


class StoredFrame:
    """A table in memory, written to a Parquet file in a temporary folder, which is deleted with this object.

    Copies in other processes read the file, and leave it alone.

    Args:
        table: The table; the index of a pandas table is left out.

    Raises:
        ConfigError: If pyarrow is missing.
        DataError: If the table holds values that Arrow cannot take.

    Example:
        >>> import pyarrow
        >>> StoredFrame(pyarrow.table({"a": [1]})).path.name
        'frame.parquet'
    """

    def __init__(self, table: Any) -> None:
        check_pyarrow()
        import pyarrow
        from pyarrow import parquet

        self.path = Path(tempfile.mkdtemp(prefix="aepretrain-")) / "frame.parquet"
        weakref.finalize(self, shutil.rmtree, self.path.parent, ignore_errors=True)
        try:
            parquet.write_table(_to_arrow(table).replace_schema_metadata(None), self.path)
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"the table cannot be read: {reason:.200}. Give each column values of one type.") from error


def _to_arrow(table: Any) -> Any:
    import pyarrow

    if isinstance(table, pyarrow.Table):
        return table
    if type(table).__module__.startswith("pandas"):
        return pyarrow.Table.from_pandas(table, preserve_index=False)
    if _is_dataset(table):
        return _of_dataset(table)
    if hasattr(table, "to_arrow"):
        return table.to_arrow()
    if hasattr(table, "__arrow_c_stream__"):
        return pyarrow.table(table)
    from pyarrow import interchange

    return interchange.from_dataframe(table)


def _of_dataset(dataset: Any) -> Any:
    """The rows of a ``datasets.Dataset`` in its order, with the names of classes in place of their numbers."""
    import pyarrow
    import pyarrow.compute as compute

    if not hasattr(dataset, "select"):
        kind = type(dataset).__name__
        way = (
            "Give one of its splits, such as data['train']."
            if hasattr(dataset, "keys")
            else "Load it without streaming."
        )
        raise DataError(f"a table must be a datasets.Dataset, but is a {kind}. {way}")
    table = dataset.with_format("arrow")[:]
    for place, (name, feature) in enumerate(dataset.features.items()):
        if hasattr(feature, "int2str"):
            numbers = compute.if_else(compute.less(table[name], 0), None, table[name])  # -1: no label
            table = table.set_column(place, name, pyarrow.array(feature.names).take(numbers.combine_chunks()))
    return table
