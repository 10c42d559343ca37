"""The data of a comparison: recorded in ``data.json``, compared when the comparison is named again."""

from pathlib import Path

from aepretrain.data.base import DataModule
from aepretrain.data.fingerprint import check_data, describe_origin
from aepretrain.errors import DataError
from aepretrain.results.cell import CellResult
from aepretrain.results.fingerprint import Fingerprint
from aepretrain.results.records import read_record, write_record
from aepretrain.results.run import RunResult

DATA = "data.json"
WAY_OUT = "Put the old data back to go on, or start a new comparison by another --out."


def has_data(out: Path) -> bool:
    """Whether a comparison has recorded what its data were."""
    return (out / DATA).is_file()


def record_data(out: Path, data: DataModule) -> None:
    """Record the fingerprint of the data in ``data.json``, unless there is one.

    Raises:
        StorageError: If it cannot be written.
    """
    if not has_data(out):
        write_record(out / DATA, data.fingerprint())


def check_recorded(out: Path, data: DataModule) -> None:
    """Check the data against ``data.json``, and against every finished cell and pretraining. Writes nothing.

    A comparison of a version that recorded no data goes on, with one line that says so.

    Raises:
        DataError: If the data changed, or a cell was made with other data.
        StorageError: If a file is damaged.
    """
    runs = sorted((out / "runs").glob("*/results.json"))
    rows = sorted((out / "runs").glob("*/row.json"))
    if has_data(out):
        check_data(data, read_record(Fingerprint, out / DATA), str(out), WAY_OUT)
    elif runs or rows:
        check_data(data, None, str(out), WAY_OUT)
    for path in runs:
        if (found := RunResult.read(path).data.fingerprint) is not None:
            check_data(data, found, str(path.parent), WAY_OUT)
    for path in rows:
        if CellResult.read(path).data not in (None, data.fingerprint().digest):
            raise DataError(f"{path.parent} was made with other data than {describe_origin(data)}. {WAY_OUT}")
