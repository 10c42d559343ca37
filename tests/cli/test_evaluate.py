"""``evaluate`` measures on the data of the run, and says so where they are others."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from aepretrain.cli.main import main
from tests.support.tables import X, Y, changed, save, write_config


def said(capsys):
    captured = capsys.readouterr()
    return " ".join(captured.out.split()), " ".join(captured.err.split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on files that its config names without a folder."""
    folder = tmp_path_factory.mktemp("evaluated")
    save(folder)
    data = {"x": "x.npy", "y": "y.npy", "validation": 40, "test": 40, "transform": "standardize"}
    config = write_config(folder, {"class_path": "MappedArray", "init_args": data}, finetune={"epochs": 30})
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert main(["fit", "--config", str(config), "--out", "run"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def rewritten(finished):
    """Writes other data in the place of the run's own, which come back afterwards."""
    yield lambda **data: save(finished, **data)
    save(finished)


def test_another_file_of_the_same_name_in_the_current_folder_is_not_that_of_the_run(
    finished, tmp_path, monkeypatch, capsys
):
    save(tmp_path, x=X[::-1].copy())
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", str(finished / "run")]) == 0
    accuracy = json.loads((finished / "run" / "results.json").read_text())["classifier"]["test"]["accuracy"]
    assert f"{accuracy:.2%}" in said(capsys)[0]


def test_another_content_of_the_file_of_the_run_is_refused(finished, rewritten, capsys):
    rewritten(x=X[::-1].copy())
    assert main(["evaluate", str(finished / "run")]) == 3
    files = f"{finished / 'x.npy'}, {finished / 'y.npy'}"
    assert (
        f"{finished / 'run'} was made with other data than MappedArray in {files}: the inputs (other values) "
        "changed. Put the data of the run back, or measure on these by --other_data." in said(capsys)[1]
    )


def test_other_data_are_measured_if_that_is_asked_for(finished, rewritten, capsys):
    rewritten(y=changed(Y, slice(60), 1))
    assert main(["evaluate", str(finished / "run")]) == 3
    assert main(["evaluate", str(finished / "run"), "--other_data"]) == 0
    assert "warning: these are not the data of the run: the labels (other values) changed" in said(capsys)[0]


def test_data_that_were_moved_are_named_by_their_new_place(finished, tmp_path, capsys):
    for name in ("x.npy", "y.npy"):
        shutil.copy(finished / name, tmp_path / name)
    places = [f"--data.x={tmp_path / 'x.npy'}", "--data.y", str(tmp_path / "y.npy")]
    assert main(["evaluate", str(finished / "run"), *places]) == 0
    accuracy = json.loads((finished / "run" / "results.json").read_text())["classifier"]["test"]["accuracy"]
    assert f"{accuracy:.2%}" in said(capsys)[0]
    np.save(tmp_path / "x.npy", X[::-1])
    assert main(["evaluate", str(finished / "run"), *places]) == 3
    assert "the inputs (other values) changed" in said(capsys)[1]
    assert main(["evaluate", str(finished / "run"), "--data.labels", "9"]) == 2
    assert "--data.labels does not name a path of the run's data; allowed are: --data." in said(capsys)[1]


def test_a_run_of_a_version_that_recorded_no_data_is_measured_and_says_so(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished / "run", tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    values = json.loads(path.read_text())
    del values["data"]["fingerprint"]
    path.write_text(json.dumps(values))
    monkeypatch.chdir(finished)
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "whether they changed since cannot be checked" in said(capsys)[0]


@pytest.mark.parametrize("name", ["cats", "zebra"])
def test_a_class_folder_with_another_name_is_refused(name, tmp_path, capsys):
    generator = np.random.default_rng(0)
    for k, kind in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(100 * k, 100 * k + 100, (4, 4), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / kind / f"{number}.png")
    arguments = {"root": str(tmp_path / "pictures"), "grey": True, "cache": str(tmp_path / "cache")}
    config = write_config(tmp_path, {"class_path": "ImageFolder", "init_args": arguments})
    assert main(["fit", "--config", str(config), "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    (tmp_path / "pictures" / "cat").rename(tmp_path / "pictures" / name)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run")]) == 3
    assert f"ImageFolder in {tmp_path / 'pictures'}: the class names ({name} instead of cat)" in said(capsys)[1]
    assert main(["evaluate", str(tmp_path / "run"), "--other_data"]) == 3
    classes = ", ".join(sorted([name, "dog"]))
    found = f"ImageFolder has the classes {classes}, but the run in {tmp_path / 'run'}"
    assert f"{found} was trained on the classes cat, dog" in said(capsys)[1]
