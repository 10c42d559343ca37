"""A run directory tells its paths in full, and works from any folder and after its data were moved."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import yaml

from aepretrain import MNIST, DataError, ImageFolder, MappedArray
from aepretrain.data.lock import locked
from aepretrain.data.paths import path_settings
from tests.cli.test_verbs import write_mnist

CONFIG = {
    "layers": [
        {
            "class_path": "PlainAutoencoder",
            "init_args": {"coder": {"class_path": "Dense", "init_args": {"features": 3}}},
        }
    ],
    "pretrain": {"epochs": 1},
    "finetune": {"epochs": 1},
    "report": False,
    "loggers": [],
}
MINE = """
from pathlib import Path
import numpy as np
from aepretrain import Arrays
class Mine(Arrays):
    def __init__(self, folder: Path, more: list[Path] | None = None, name: str = "x.npy", labels: int | None = None):
        super().__init__(np.load(folder / name), np.load(folder / "y.npy"), labels=labels)
"""
SOURCES = {
    "MappedArray": {"x": "data/x.npy", "y": "data/y.npy"},
    "mine.Mine": {"folder": "data", "more": ["data/x.npy"], "name": "x.npy"},
}


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    generator = np.random.default_rng(0)
    np.save(data / "x.npy", generator.random((60, 4), dtype=np.float32))
    np.save(data / "y.npy", np.arange(60) % 3)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "sub").mkdir()
    return tmp_path


@pytest.fixture
def run(folder, runner):
    """Runs a command in the folder or below; returns its code and what it says."""

    def run(*words, place="", **environment):
        return runner.run(*words, folder=str(folder / place), environment=environment)

    return run


def write(folder, source, arguments=None):
    data = {"class_path": source, "init_args": arguments or SOURCES[source]}
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "data": data}))
    return ("fit", "--config", "config.yaml", "--out", "run", *(["--trust-module", "mine"] if "mine" in source else []))


@pytest.mark.parametrize("source", SOURCES)
def test_the_paths_of_a_source_are_stored_in_full_with_those_given_beside(source, folder, run):
    code, said = run(*write(folder, source))
    assert code == 0, said
    text = (folder / "run" / "config.yaml").read_text()
    found = yaml.safe_load(text)["data"]["init_args"]
    if source == "MappedArray":
        assert (found["x"], found["y"]) == (str(folder / "data/x.npy"), str(folder / "data/y.npy"))
        assert text.splitlines()[0] == f"# data.x was given as data/x.npy in {folder}"
    else:
        assert (found["folder"], found["more"], found["name"]) == (
            str(folder / "data"), [str(folder / "data/x.npy")], "x.npy",
        )  # fmt: skip
        assert text.splitlines()[0] == f"# data.folder was given as data in {folder}"
    trusted = ["--trust-module", "mine"] if "mine" in source else []
    if trusted:
        shutil.copy(folder / "mine.py", folder / "sub" / "mine.py")
    for words in (["fit", "--config", "../run/config.yaml", "--out", "again"], ["evaluate", "../run"]):
        code, said = run(*words, *trusted, place="sub")
        assert code == 0, said
    again = (folder / "sub" / "again" / "config.yaml").read_text()
    assert again == "".join(line for line in text.splitlines(keepends=True) if not line.startswith("# data."))


def test_a_run_goes_on_from_another_folder_and_keeps_the_paths_as_first_given(folder, run, runner):
    strike = {"stage": "classifier", "place": "after_step", "signum": signal.SIGTERM}
    words = (*write(folder, "MappedArray"), "--finetune.epochs", "5")
    code, said = runner.run(*words, folder=str(folder), strike=strike)
    assert code == 143, said
    assert said.endswith(f"Go on with: aepretrain fit --resume {folder / 'run'}\n")
    before = (folder / "run" / "config.yaml").read_text()
    code, said = run("fit", "--resume", "../run", place="sub")
    assert code == 0, said
    after = (folder / "run" / "config.yaml").read_text()
    assert after == f"{before}# classifier took recorded steps\n"
    assert before.startswith("# data.x was given as data/x.npy in ")


@pytest.mark.parametrize("source", SOURCES)
def test_a_config_on_a_machine_without_the_data_is_one_line(source, folder, run):
    words = write(folder, source)
    assert run(*words)[0] == 0
    (folder / "data").rename(folder / "moved")
    trusted = ["--trust-module", "mine"] if "mine" in source else []
    code, said = run("fit", "--config", "run/config.yaml", "--out", "again", *trusted)
    place = folder / "data" / "x.npy"
    expected = {
        "MappedArray": f"{place} does not exist. Check the path: it must name a .npy file.",
        "mine.Mine": f"data: {place}: No such file or directory. Name other paths by --data.folder, --data.more.",
    }[source]
    assert (code, said) == (3, f"aepretrain: error: {expected}\n")
    if source == "MappedArray":
        moved = ["--data.x", "moved/x.npy", "--data.y", "moved/y.npy"]
        assert run("fit", "--config", "run/config.yaml", "--out", "again", *moved)[0] == 0


def test_the_home_folder_is_expanded_wherever_a_path_is_named(folder, run):
    home = {"HOME": str(folder)}
    write(folder, "MappedArray", {"x": "~/data/x.npy", "y": "~/data/y.npy"})
    words = ["fit", "--config=~/config.yaml", "--out=~/a run", "--data.x", "~/data/x.npy"]
    code, said = run(*words, place="sub", **home)
    assert code == 0, said
    assert json.loads((folder / "a run" / "results.json").read_text())["data"]["classes"] == 3
    for words in (["evaluate", "~/a run"], ["report", "~/a run"], ["fit", "--resume", "~/a run"]):
        code, said = run(*words, place="sub", **home)
        assert code == 0, said
    found = yaml.safe_load((folder / "a run" / "config.yaml").read_text())["data"]["init_args"]
    assert (found["x"], found["y"]) == (str(folder / "data/x.npy"), str(folder / "data/y.npy"))
    assert not list((folder / "sub").iterdir())


def test_the_home_folder_is_expanded_for_sources_and_from_python(folder, run, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    code, said = run(*write(folder, "mine.Mine", {"folder": "~/data"}), HOME=str(folder))
    assert code == 0, said
    assert MappedArray("~/data/x.npy").in_shape == (4,)
    with pytest.raises(DataError, match=rf"^{folder}/data"):
        ImageFolder("~/data", cache="~/cache")


def test_paths_are_found_by_their_type():
    def source(a: str, b: "MappedArray", c: int = 0) -> None: ...

    assert path_settings(source) == []
    assert path_settings(MappedArray) == ["x", "y", "more_inputs", "groups", "times", "splits"]


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_data_folder_that_cannot_be_written_is_read_and_left_as_it_was(is_complete, tmp_path, monkeypatch):
    write_mnist(tmp_path, 20)
    if not is_complete:
        (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    before, access = sorted(tmp_path.rglob("*")), os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    if is_complete:
        assert len(MNIST(tmp_path).load().test) == 20
    else:
        with pytest.raises(DataError, match=r"MNIST could not be read .* its files are not there\. Name a folder"):
            MNIST(str(tmp_path)).source()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_lock_that_a_killed_download_left_is_removed_by_the_next_reader(tmp_path):
    write_mnist(tmp_path, 20)
    (tmp_path / ".MNIST.lock").touch()
    MNIST(tmp_path).load()
    assert not (tmp_path / ".MNIST.lock").exists()
    with locked(tmp_path / ".MNIST.lock"):  # in use
        MNIST(tmp_path).load()
        assert (tmp_path / ".MNIST.lock").exists()
