"""The data of a run: recorded when it starts, compared when it goes on."""

from pathlib import Path

from aepretrain.data.base import DataModule
from aepretrain.data.fingerprint import check_data
from aepretrain.training.recovery.run_state import RunState


def record_or_check_data(out: Path | None, data: DataModule, *, resume: bool) -> None:
    """Record the fingerprint of the data in ``state.json``, or check it when a run is resumed.

    A run without a fingerprint (older version) goes on with a notice; its fingerprint is recorded now.

    Args:
        out: The run directory; ``None``: nothing is recorded.
        data: The data of the run.
        resume: Whether the run goes on from what is in the directory.

    Raises:
        DataError: If the data changed since the run started.
        StorageError: If ``state.json`` is damaged or cannot be written.
    """
    if out is None:
        return
    state = RunState(out)
    recorded = state.data
    if resume and (recorded is not None or state.read()["stages"]):
        check_data(data, recorded, str(out), "Put the old data back to go on, or start a new run by another --out.")
    if recorded is None or (not resume and recorded != data.fingerprint()):
        state.record_data(data.fingerprint())
