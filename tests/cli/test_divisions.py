"""By command: what a random division of a windowed series says, what groups and time say, and how it is recorded."""

import csv
import json
import shutil

import numpy as np
import pytest

from aepretrain.cli.main import main
from tests.support.tables import X, Y, save, write_config

CODER = {"coder": {"class_path": "Dense", "init_args": {"features": 4}}}
BRIEF = {
    "layers": [{"class_path": "PlainAutoencoder", "init_args": CODER}],
    "pretrain": {"epochs": 1},
    "finetune": {"epochs": 1},
}
RECORDINGS, WINDOWS, LENGTH, STRIDE = 60, 20, 32, 8


def write_recordings(folder):
    """Overlapping windows of recordings, each with a wave form of its own that says nearly nothing of its class."""
    generator = np.random.default_rng(0)
    time = np.arange(LENGTH + STRIDE * (WINDOWS - 1)) * 2 * np.pi / LENGTH
    harmonics = np.arange(1, 11)[:, None]
    windows = []
    for recording in range(RECORDINGS):
        a, b = generator.normal(size=(2, 10, 1))
        a[0] += 0.3 * (recording % 2)
        series = (a * np.sin(harmonics * time) + b * np.cos(harmonics * time)).sum(axis=0)
        series += 0.3 * generator.normal(size=len(time))
        windows.append(np.lib.stride_tricks.sliding_window_view(series, LENGTH)[::STRIDE])
    recordings = np.arange(RECORDINGS).repeat(WINDOWS)
    save(folder, np.concatenate(windows).astype(np.float32), recordings % 2)
    np.save(folder / "recordings.npy", recordings)


def data_of(folder, **how):
    files = {"x": str(folder / "x.npy"), "y": str(folder / "y.npy"), **how}
    return {"class_path": "MappedArray", "init_args": files}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    write_recordings(folder)
    return folder


def compared(folder, out, capsys, **how):
    """The mean test accuracy of k nearest neighbours over 3 seeds, what was said, and the summary."""
    options = {"arms": ["random"], "baselines": ["knn"], "seeds": 3}
    config = write_config(folder, data_of(folder, **how), compare=options, **BRIEF)
    assert main(["compare", "--config", str(config), "--out", str(out)]) == 0
    with (out / "results.csv").open(newline="") as file:
        found = [float(row["test_accuracy"]) for row in csv.DictReader(file) if row["arm"] == "knn"]
    said = " ".join(capsys.readouterr().out.split())
    return np.mean(found), said, json.loads((out / "summary.json").read_text())


def test_a_random_division_of_windows_leaks_and_is_warned_of(recordings, tmp_path, capsys):
    accuracy, said, summary = compared(recordings, tmp_path / "out", capsys)
    assert accuracy > 0.97
    assert "warning: rows are overlapping windows: 16 of 16 sampled rows hold 24 of the 32 values" in said
    assert "data: divided at random, stratified by class: 720 training, 240 validation, 240 test examples." in said
    assert summary["splits"] == "per-seed"


def test_groups_give_an_honest_figure_by_another_division_for_every_seed(recordings, tmp_path, capsys):
    groups = str(recordings / "recordings.npy")
    accuracy, said, summary = compared(recordings, tmp_path / "out", capsys, groups=groups)
    assert 0.4 < accuracy < 0.65
    assert "random division" not in said
    assert "data: divided by groups, with like shares of classes: 720 training examples of 36 groups, 240" in said
    assert summary["splits"] == "per-seed"
    assert "every seed divides the data anew" in said


def test_time_gives_an_honest_figure_by_one_division_for_all_seeds(recordings, tmp_path, capsys):
    accuracy, said, summary = compared(recordings, tmp_path / "out", capsys, order="time")
    assert 0.35 < accuracy < 0.65
    assert "random division" not in said
    assert "data: divided by time, the earliest rows for training, the same for every seed: 720 training" in said
    assert summary["splits"] == "fixed"
    assert "all seeds share one division of the data" in said


SUBJECTS = np.arange(200) // 10


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    save(folder)
    np.save(folder / "groups.npy", SUBJECTS)
    config = write_config(folder, data_of(folder, groups=str(folder / "groups.npy")), **BRIEF)
    assert main(["fit", "--config", str(config), "--out", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run, as if it had not ended; its groups are put back afterwards."""
    shutil.copytree(finished / "out", tmp_path / "out")
    state = json.loads((tmp_path / "out" / "state.json").read_text())
    (tmp_path / "out" / "state.json").write_text(json.dumps({**state, "status": "stopped"}))
    yield tmp_path / "out"
    np.save(finished / "groups.npy", SUBJECTS)


def test_a_run_does_not_go_on_with_other_groups(finished, run, capsys):
    np.save(finished / "groups.npy", np.roll(SUBJECTS, 5))
    assert main(["fit", "--resume", str(run)]) == 3
    assert "the groups (other values) changed" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", str(run)]) == 3
    assert "the groups (other values) changed" in " ".join(capsys.readouterr().err.split())


def test_a_run_goes_on_with_groups_that_were_moved(finished, run, tmp_path, capsys):
    lines = "\n".join(f"subject {number}" for number in SUBJECTS)
    (tmp_path / "moved.csv").write_text(lines)
    assert main(["fit", "--resume", str(run), "--data.groups", str(tmp_path / "moved.csv")]) == 0


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--data.groups", "null"), 3, "the groups (missing now) changed"),
        (("--data.order", "time"), 2, "data.init_args.order"),
    ],
)
def test_a_run_does_not_go_on_divided_otherwise(more, code, message, run, capsys):
    assert main(["fit", "--resume", str(run), *more]) == code
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ({"groups": "nowhere.npy"}, 3, "nowhere.npy does not exist. Check the path"),
        ({"times": "groups.npy"}, 2, "data.times is used by data.order time alone"),
        ({"order": "when"}, 2, "when"),
        ({"splits": "groups.npy"}, 3, "splits must be train, validation or test, but other names stand there: '0'"),
        ({"splits": "splits.txt", "test": 20}, 2, "data.test must be left out where that split is given by"),
    ],
)
def test_validate_refuses_what_cannot_divide_in_one_line(how, code, message, tmp_path, capsys):
    save(tmp_path, X, Y)
    np.save(tmp_path / "groups.npy", SUBJECTS)
    (tmp_path / "splits.txt").write_text("train\nval\ntest\nTrain\n" * 50)
    files = {name: str(tmp_path / value) if "." in str(value) else value for name, value in how.items()}
    config = write_config(tmp_path, data_of(tmp_path, **files), **BRIEF)
    assert main(["validate", "--config", str(config)]) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_validate_says_how_data_are_divided(tmp_path, capsys):
    save(tmp_path, X, Y)
    (tmp_path / "splits.txt").write_text("train\nval\ntest\nTrain\n" * 50)
    config = write_config(tmp_path, data_of(tmp_path, splits=str(tmp_path / "splits.txt")), **BRIEF)
    assert main(["validate", "--config", str(config)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"data: divided as given by {tmp_path / 'splits.txt'}, the same for every seed: 100 training, 50" in said
