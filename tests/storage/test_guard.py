"""Nothing is read without an end, and nothing is written or deleted through a link."""

import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from aepretrain import DataError, StorageError, load_encoder
from aepretrain.data.file_rows import RowFile
from aepretrain.data.npy import NpyHeader, read_labels
from aepretrain.data.picture import read_picture
from aepretrain.errors import UnwritableError
from aepretrain.export.encoder import save_encoder
from aepretrain.report.run_files import read_commands
from aepretrain.results.cell import read_rows
from aepretrain.results.run import RunResult
from aepretrain.storage.array_files import read_arrays, write_arrays
from aepretrain.storage.files import append_atomically, remove_folder, sweep, write_atomically, write_together
from aepretrain.storage.guard import inside, open_regular, read_bytes, truncate
from aepretrain.storage.json_files import read_json
from aepretrain.storage.weight_files import read_weights, write_weights
from aepretrain.storage.yaml_files import MOST, parse_yaml, read_yaml
from aepretrain.tracking.metrics_file import MetricsFile, read_metrics
from aepretrain.tracking.options import Tracking
from aepretrain.tracking.run import TrackedRun
from aepretrain.training.recovery.checkpoints import read_checkpoint
from aepretrain.training.recovery.run_state import RunState
from aepretrain.training.recovery.stage_files import StageFiles, read_stage_record

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes in folders")]

READERS = {
    "bytes": read_bytes, "json": read_json, "yaml": lambda path: read_yaml(path, "Write it."), "metrics": read_metrics,
    "results": RunResult.read, "rows": read_rows, "stage": read_stage_record, "checkpoint": read_checkpoint,
    "weights": lambda path: read_weights(path, nn.Linear(2, 2)), "npy": NpyHeader.read, "labels": read_labels,
    "picture": lambda path: read_picture(path, grey=True, background="white"),
    "rows of a file": lambda path: RowFile(path, (2,), torch.float32),
}  # fmt: skip
ODD = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_are_read(name, kind, tmp_path):
    path = tmp_path / "file"
    ODD[kind](path)
    with pytest.raises((OSError, DataError), match=f"it is {kind} and not a regular file"):
        READERS[name](path)


def test_a_socket_is_not_opened(tmp_path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="No such device"):
            open_regular(tmp_path / "s")


def test_a_record_that_is_a_pipe_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "state.json")
    with pytest.raises(StorageError, match=r"state\.json cannot be read: it is a pipe"):
        RunState(tmp_path).read()


@pytest.mark.parametrize("name", ["config.json", "encoder.safetensors"])
def test_an_encoder_that_is_a_pipe_does_not_wait(name, tmp_path):
    folder = save_encoder(nn.Linear(4, 2), tmp_path / "encoder", in_shape=(4,))
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(StorageError, match=f"{name} cannot be read: it is a pipe"):
        load_encoder(folder)


def test_files_are_read_up_to_a_size(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, and at most 4 are read"):
        read_bytes(path, 4)
    with pytest.raises(OSError, match="it has more than 10 bytes"):
        read_bytes(Path("/proc/cpuinfo"), 10)


def test_weights_larger_than_the_config_says_are_not_read(tmp_path):
    folder = save_encoder(nn.Linear(4, 2), tmp_path / "encoder", in_shape=(4,))
    with (folder / "encoder.safetensors").open("ab") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(StorageError, match="it has 1,099,511,627,776 bytes, and at most"):
        load_encoder(folder)


def test_arrays_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    from aepretrain.storage import array_files

    write_arrays(tmp_path / "a.npz", {"codes": np.zeros(10_000)})
    monkeypatch.setattr(array_files, "LARGEST", 1000)
    with pytest.raises(StorageError, match=r"its arrays have 80,128 bytes, and at most 1,000 are read"):
        array_files.read_arrays(tmp_path / "a.npz")


def test_every_array_is_unpacked_once(tmp_path, monkeypatch):
    unpack, names = np.lib.npyio.NpzFile.__getitem__, []
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda self, name: names.append(name) or unpack(self, name)
    )
    write_arrays(tmp_path / "a.npz", {"x": np.zeros(2), "y": np.ones(1)})
    assert list(read_arrays(tmp_path / "a.npz")) == names == ["x", "y"]


BOMB = (
    "a: &a ["
    + "1," * 10
    + "]\n"
    + "".join(f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True))
)


@pytest.mark.parametrize(("text", "why"), [
    (BOMB, f"more than {MOST:,} values, counting what aliases repeat"),
    ("a: &a [*a]", "nest more than 50 deep, or hold themselves"),
    ("[" * 99 + "]" * 99, "nest more than 50 deep"), ("[" * 5000, "nest more than 50 deep"),
    ("a: 2001-99-99", "a value cannot be read: month must be in 1..12"),
])  # fmt: skip
def test_yaml_is_bounded(text, why):
    with pytest.raises(yaml.YAMLError, match=re.escape(why)):
        parse_yaml(text)


WRITERS = {
    "bytes": lambda folder: write_atomically(folder / "file", b"new"),
    "files together": lambda folder: write_together(folder, {"file": b"new"}),
    "arrays": lambda folder: write_arrays(folder / "file", {"x": np.arange(3)}),
    "weights": lambda folder: write_weights(folder / "file", nn.Linear(2, 2)),
}
APPENDERS = {
    "rows": lambda folder: append_atomically(folder / "file", b"new"),
    "metrics": lambda folder: MetricsFile(folder / "file", "a").log_metrics({"x": 1.0}, 1),
    "truncate": lambda folder: truncate(folder / "file", 1),
}


@pytest.fixture
def outside(tmp_path):
    """A file outside the folder that is written to."""
    path = tmp_path / "outside"
    path.write_bytes(b"mine")
    (tmp_path / "run").mkdir()
    yield path
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_link_is_replaced_and_not_written_through(write, outside, tmp_path):
    for name in ("file", "file.part"):
        (tmp_path / "run" / name).symlink_to(outside)
    write(tmp_path / "run")
    path = tmp_path / "run" / "file"
    assert not path.is_symlink()
    assert path.stat().st_size > 0
    assert sorted(each.name for each in (tmp_path / "run").iterdir()) == ["file", "file.part"]


@pytest.mark.parametrize("windows", [False, True], ids=["posix", "windows"])
@pytest.mark.parametrize("target", ["outside", "missing"])
@pytest.mark.parametrize("append", APPENDERS.values(), ids=APPENDERS)
def test_nothing_is_appended_through_a_link(append, target, windows, outside, tmp_path, monkeypatch):
    if windows:
        monkeypatch.setattr("aepretrain.storage.guard.NO_LINK", 0)
    (tmp_path / "run" / "file").symlink_to(tmp_path / target)
    with pytest.raises(OSError, match="it is a link, and nothing is written through links"):
        append(tmp_path / "run")
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("append", APPENDERS.values(), ids=APPENDERS)
def test_nothing_is_appended_to_a_pipe(append, tmp_path):
    os.mkfifo(tmp_path / "file")
    with pytest.raises(OSError, match=r"it is a pipe|No such device"):
        append(tmp_path)


def test_a_folder_of_a_run_that_is_a_link_is_refused(outside, tmp_path):
    run = tmp_path / "run"
    (run / "stages").symlink_to(tmp_path)
    with pytest.raises(StorageError, match=r"stages is a link, and nothing is written or deleted through links inside"):
        StageFiles(run, "00-plain")
    with pytest.raises(StorageError, match="is a link"):
        inside(run, "stages", "00-plain")


@pytest.mark.parametrize("name", ["csv", "tensorboard"])
def test_loggers_write_into_folders_of_the_run(name, outside, tmp_path):
    (tmp_path / "run" / name).symlink_to(tmp_path)
    with pytest.raises(StorageError, match=f"{name} is a link"):
        TrackedRun(tmp_path / "run", Tracking([name])).loggers("00-plain")


def test_the_directory_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    write_atomically(inside(tmp_path / "run", "state.json"), b"{}")
    assert (tmp_path / "real" / "state.json").read_bytes() == b"{}"


def test_nothing_is_deleted_through_a_link(outside, tmp_path):
    link = tmp_path / "run" / "cell"
    (tmp_path / "state.json").touch()
    (tmp_path / "a.part").touch()
    link.symlink_to(tmp_path)
    with pytest.raises(UnwritableError, match="it is a link, and nothing is deleted through links"):
        remove_folder(link, "state.json")
    assert sweep(tmp_path / "run") == []
    assert (tmp_path / "state.json").exists()
    assert (tmp_path / "a.part").exists()


def test_text_of_another_encoding_ends_in_one_line(tmp_path):
    path = tmp_path / "commands.txt"
    path.write_bytes(b"aepretrain \xff")
    with pytest.raises(StorageError, match=r"commands\.txt cannot be read: 'utf-8' codec"):
        read_commands(tmp_path)
    path = tmp_path / "a.json"
    path.write_text("1]")
    with pytest.raises(StorageError, match="Extra data"):
        read_json(path)
