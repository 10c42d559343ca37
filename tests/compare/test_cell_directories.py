"""Run directories of cells: new, resumed or begun again, alone or together with those of other seeds."""

import errno
import os
from pathlib import Path

import pytest

from aepretrain import StorageError
from aepretrain.compare import cell_directories
from aepretrain.compare.cell_directories import SeedGroup, move_into, resume_or_create, seeds_together
from aepretrain.results.records import read_record
from aepretrain.training.recovery.run_state import METRICS, STATE
from tests.support.comparisons import small_bench


@pytest.fixture
def folders(tmp_path):
    return [tmp_path / f"random-all-seed{seed}" for seed in (1, 2)]


def begun(folder):
    """A directory in which a run saved its state."""
    folder.mkdir(exist_ok=True)
    (folder / STATE).write_text("{}")
    (folder / "weights").write_text("old")


def test_a_new_directory_has_no_metrics_yet_and_keeps_nothing_of_what_saved_no_state(folders):
    for _ in range(2):
        assert resume_or_create(folders[0]) is False
        assert sorted(path.name for path in folders[0].iterdir()) == sorted([METRICS, "stages"])
        assert (folders[0] / "stages" / "classifier").is_dir()
        assert (folders[0] / METRICS).read_bytes() == b""
        (folders[0] / "weights").write_text("old")


def test_a_directory_with_a_state_is_resumed_without_what_was_half_written(folders):
    begun(folders[0])
    (folders[0] / "model.part").write_text("half")
    assert resume_or_create(folders[0]) is True
    assert sorted(path.name for path in folders[0].iterdir()) == sorted([STATE, "weights"])


def test_seeds_are_noted_while_they_are_trained_together(folders, tmp_path):
    group = tmp_path / "together.json"
    with seeds_together(group, (1, 2), folders) as started:
        assert started is True
        assert read_record(SeedGroup, group) == SeedGroup([1, 2])
        assert all((folder / METRICS).is_file() for folder in folders)
    assert not group.exists()


@pytest.mark.parametrize("started", [[0], [1], [0, 1]])
def test_seeds_that_were_started_alone_go_on_alone(folders, tmp_path, started):
    for k in started:
        begun(folders[k])
    with seeds_together(tmp_path / "together.json", [1, 2], folders) as together:
        assert together is False
    assert [(folder / "weights").exists() for folder in folders] == [k in started for k in (0, 1)]
    assert not (tmp_path / "together.json").exists()


@pytest.mark.parametrize(("again", "together"), [([1, 2], True), ([1, 3], False), ([1], False)])
def test_only_the_seeds_that_were_interrupted_together_begin_again_together(folders, tmp_path, again, together):
    group = tmp_path / "together.json"

    def interrupted():
        with seeds_together(group, [1, 2], folders):
            begun(folders[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert group.is_file()
    with seeds_together(group, again, folders) as found:
        assert found is together
        assert (folders[0] / "weights").exists() is not together


def test_the_trial_that_won_becomes_the_run_of_its_cell(tmp_path):
    trial, other = tmp_path / "trials" / "1", tmp_path / "trials" / "0"
    for folder in (trial, other):
        (folder / "stages").mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(folder.name)
    move_into(trial, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == "1"
    assert (tmp_path / "stages").is_dir()
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["0"]


def full(*given, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def resumed(folder):
    begun(folder)
    resume_or_create(folder)


def moved(folder):
    (folder / "0" / "stages").mkdir(parents=True)
    move_into(folder / "0", folder)


def closed(folder):
    with seeds_together(folder / "together.json", [], []):
        pass


def removed(folder):
    bench = small_bench(folder)
    bench.runs.mkdir()
    (bench.runs / "together.json").write_text("{}")
    bench.remove_groups()


@pytest.mark.parametrize(
    ("act", "place", "name"),
    [
        (resumed, cell_directories, "sweep"),
        (moved, Path, "rename"),
        (closed, Path, "unlink"),
        (removed, Path, "unlink"),
    ],
)
def test_a_full_disk_is_told_where_no_bytes_are_written(act, place, name, tmp_path, monkeypatch):
    monkeypatch.setattr(place, name, full)
    with pytest.raises(StorageError, match=r"cannot be written: No space left on device: 0 bytes needed, [\d,]+ free"):
        act(tmp_path)
