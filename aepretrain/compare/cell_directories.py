"""The run directories of cells: created, resumed or removed, and those of seeds that are trained together."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aepretrain.results.records import read_record, write_record
from aepretrain.storage.files import append_atomically, make_folder, remove_folder, storing, sweep
from aepretrain.training.recovery.run_state import METRICS, STATE


@dataclass(frozen=True)
class SeedGroup:
    """The file that stands in the folder of the runs while seeds are trained together."""

    seeds: list[int]


@contextlib.contextmanager
def seeds_together(group: Path, seeds: Sequence[int], folders: Sequence[Path]) -> Iterator[bool]:
    """Create run directories for seeds that are trained together; yields whether none was started alone before.

    An interruption leaves the file ``group``, so that the next start begins with the same seeds.
    """
    if group.is_file() and read_record(SeedGroup, group).seeds == list(seeds):
        for folder in folders:
            remove_folder(folder, STATE)
    if any(resume_or_create(folder) for folder in folders):
        yield False
        return
    write_record(group, SeedGroup(list(seeds)))
    yield True
    with storing(group, 0):
        group.unlink(missing_ok=True)


def resume_or_create(folder: Path) -> bool:
    """Resume an unfinished run directory if it has saved state, else create a new one.

    Returns:
        Whether to resume.

    Raises:
        StorageError: If the directory cannot be written.
    """
    with storing(folder, 0):
        if (folder / STATE).is_file():
            sweep(folder)
            return True
        remove_folder(folder, STATE)
        make_folder(folder / "stages" / "classifier")
        append_atomically(folder / METRICS, b"")
        return False


def move_into(trial: Path, folder: Path) -> None:
    """Move the run directory of the chosen trial to that of the cell."""
    with storing(folder, 0):
        for path in trial.iterdir():
            path.rename(folder / path.name)
        trial.rmdir()
