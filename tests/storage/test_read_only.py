"""A folder that may not be written to: 5 and one line, unless nothing has to be written."""

import errno
import os

import numpy as np
import pytest
import yaml
from PIL import Image

from aepretrain.cli.main import main
from tests.support.records import LAYER, make


@pytest.fixture
def read_only(monkeypatch):
    """Makes a folder read-only, for the superuser too."""

    def make_so(folder):
        opened, made = os.open, os.mkdir

        def refuse(path, writes):
            if writes and str(path).startswith(str(folder)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        def open_file(path, flags, *args, **kwargs):
            refuse(path, flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            return opened(path, flags, *args, **kwargs)

        def make_folder(path, *args, **kwargs):
            refuse(path, not os.path.isdir(path))
            return made(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", open_file)
        monkeypatch.setattr(os, "mkdir", make_folder)

    return make_so


def test_a_report_in_a_read_only_folder_ends_with_5(read_only, tmp_path, capsys):
    changes = {"layers": [LAYER], "pretrain": {"epochs": 1}, "finetune": {"epochs": 0}, "report": False}
    folder = make("fit", tmp_path, **changes)
    read_only(folder)
    capsys.readouterr()
    assert main(["report", str(folder)]) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder / 'report.html'} cannot be written: Read-only file system. Make it writable" in line


def pictures(folder):
    """A config of a few pictures, whose cache lies beside them."""
    for number in range(20):
        path = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number * 9, np.uint8)).save(path)
    data = {"root": str(folder / "pictures"), "cache": str(folder / "cache"), "grey": True}
    config = {"layers": [LAYER], "data": {"class_path": "ImageFolder", "init_args": data}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return ["validate", "--config", str(folder / "config.yaml")]


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_cache_ends_with_5(exists, read_only, tmp_path, capsys):
    words = pictures(tmp_path)
    if exists:
        (tmp_path / "cache").mkdir()
    read_only(tmp_path / "cache")
    assert main(words) == 5
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written: Read-only file system. Make it writable" in line
    assert line.endswith("The folder is named by --data.cache.")


def test_a_read_only_cache_that_is_filled_does(read_only, tmp_path):
    words = pictures(tmp_path)
    assert main(words) == 0
    read_only(tmp_path)
    assert main(words) == 0
