"""Files are whole or as they were, whatever the disk refuses."""

import errno
import os
import shutil

import numpy as np
import pytest

from aepretrain.errors import StorageError, UnwritableError
from aepretrain.report.pictures import draw_curves, write_picture
from aepretrain.storage.array_files import write_arrays
from aepretrain.storage.files import (
    append_atomically,
    make_folder,
    remove_folder,
    storing,
    write_atomically,
    write_together,
)
from aepretrain.tracking.metrics_file import MetricsFile
from aepretrain.tracking.other_files import CSVFile, TensorBoardEvents
from tests.support.full_disk import largest_file

FULL = r"File too large: [\d,]+ bytes needed, [\d,]+ free\. Make room\. What it held before is unchanged"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


WRITERS = {
    "bytes": lambda folder: write_atomically(folder / "file", b"new" * 100),
    "files together": lambda folder: write_together(folder, {"other": b"new", "file": b"new" * 100}),
    "rows": lambda folder: append_atomically(folder / "file", b"new" * 100),
    "arrays": lambda folder: write_arrays(folder / "file", {"x": np.arange(100)}),
    "a picture": lambda folder: write_picture(folder / "file", draw_curves([{"train/loss": 1.0}])),
    "metrics": lambda folder: MetricsFile(folder / "file", "00-plain").log_metrics({"epoch": 0, "val/loss": 1.0}, 1),
}


def test_events_of_tensorboard_are_whole(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = TensorBoardEvents(tmp_path / "00-plain", "00-plain")
    logger.log_metrics({"epoch": 0, "val/loss": 2.5}, 5)
    before = contents(tmp_path / "00-plain")
    with largest_file(len(*before.values()) + 60), pytest.raises(UnwritableError, match=FULL):
        logger.log_metrics({"epoch": 1, "val/loss": 1.5}, 10)
    assert contents(tmp_path / "00-plain") == before
    logger.log_metrics({"epoch": 1, "val/loss": 1.25}, 10)
    events = accumulator.EventAccumulator(str(tmp_path / "00-plain")).Reload().Scalars("val/loss")
    assert [(event.step, event.value) for event in events] == [(5, 2.5), (10, 1.25)]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_leaves_what_was_there(write, tmp_path):
    for name in ("file", "other"):
        (tmp_path / name).write_bytes(b"old")
    before = contents(tmp_path)
    with largest_file(13), pytest.raises(UnwritableError, match=f"{tmp_path / 'file'} cannot be written: {FULL}"):
        write(tmp_path)
    assert contents(tmp_path) == before
    write(tmp_path)
    assert contents(tmp_path)["file"] != before["file"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_folder_that_vanished_is_told_in_one_line(write, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    shutil.rmtree(folder)
    if write is WRITERS["files together"]:
        folder.write_text("a file in the way")
    with pytest.raises(UnwritableError, match=r"gone.* cannot be written: .*name another place") as caught:
        write(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("number", "way_out"), [
    (errno.ENOSPC, "7 bytes needed, [0-9,]+ free. Make room"), (errno.EDQUOT, "7 bytes needed"),
    (errno.EROFS, "Make it writable, or name another place"), (errno.ENOENT, "put it back"),
    (errno.EIO, "Look whether the disk is sound"),
])  # fmt: skip
def test_every_refusal_has_a_way_out(number, way_out, tmp_path):
    with pytest.raises(StorageError, match=way_out), storing(tmp_path / "file", 7):
        raise OSError(number, os.strerror(number))


def test_files_that_belong_together_are_never_mixed(tmp_path, monkeypatch):
    """Killed at any move, the folder holds some of the old files, or some of the new ones."""
    moves = [0]

    def killed(act):
        def step(*args, **kwargs):
            moves[0] -= 1
            if moves[0] < 0:
                raise KeyboardInterrupt
            return act(*args, **kwargs)

        return step

    names = ["weights", "config", "words"]
    for number in range(6):
        folder = tmp_path / str(number)
        write_together(folder, dict.fromkeys(names, b"old"))
        moves[0] = number
        with monkeypatch.context() as patch:
            patch.setattr("aepretrain.storage.files.os.replace", killed(os.replace))
            patch.setattr("pathlib.Path.unlink", killed(type(folder).unlink))
            with pytest.raises(KeyboardInterrupt):
                write_together(folder, dict.fromkeys(names, b"new"))
        found = {data for name, data in contents(folder).items() if name in names}
        assert len(found) <= 1, number


def test_the_table_of_a_stage_is_that_of_its_metrics(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    for stage in ("00-plain", "01-plain"):
        MetricsFile(metrics, stage).log_metrics({"epoch": 0, "val/loss": 2.0}, 5)
        MetricsFile(metrics, stage).log_metrics({"epoch": 0, "train/loss": 3.0}, 5)
    MetricsFile(metrics, "01-plain").log_metrics({"epoch": 1, "train/loss": 1.5}, 10)
    table = tmp_path / "csv" / "01-plain" / "metrics.csv"
    logger = CSVFile(table, metrics, "01-plain")
    logger.finalize("failed")
    assert not table.exists()
    logger.finalize("success")
    assert table.read_text() == "epoch,step,train/loss,val/loss\n0,5,3.0,2.0\n1,10,1.5,\n"


def test_of_a_folder_that_is_removed_the_records_go_first(tmp_path, monkeypatch):
    """A kill in the middle leaves no record that vouches for files that are gone."""
    for place in ("trials/0/state.json", "trials/0/weights", "trials/1/state.json", "state.json"):
        (tmp_path / "cell" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cell" / place).touch()
    seen = []
    remove = shutil.rmtree
    files = lambda path: [file.name for file in path.rglob("*") if file.is_file()]  # noqa: E731
    monkeypatch.setattr(shutil, "rmtree", lambda path: (seen.extend(files(path)), remove(path)))
    remove_folder(tmp_path / "cell", "state.json")
    assert seen == ["weights"]
    assert not (tmp_path / "cell").exists()
    remove_folder(tmp_path / "cell", "state.json")


def test_a_file_in_the_place_of_a_folder_is_named_as_such(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UnwritableError, match=r"run/file cannot be written: .*A file stands in the place of a folder"):
        write_atomically(tmp_path / "run" / "file", b"x")
    with pytest.raises(UnwritableError, match=r"run cannot be written: .*A file stands in the place of a folder"):
        make_folder(tmp_path / "run")
