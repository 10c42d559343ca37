"""A run goes on with the data it was started on, and with no others."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from aepretrain import Arrays, ConfigError, DataError, Dense, Experiment, PlainAutoencoder, Pretraining, RunContext
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.training.options import FineTuning
from aepretrain.training.recovery.run_state import RunState
from tests.support.runs import differences
from tests.support.tables import X, Y, changed, save, write_config


@pytest.fixture(scope="module")
def stopped(runner, tmp_path_factory):
    """The folder of some data, with a run on them that was killed in its second layer, and one that was not."""
    folder = tmp_path_factory.mktemp("stopped")
    save(folder)
    words = ("fit", "--config", write_config(folder), "--out")
    assert runner.run(*words, folder / "golden")[0] == 0
    strike = {"stage": "01-plain", "step": 1}
    assert runner.run(*words, folder / "run", strike=strike)[0] == -signal.SIGKILL
    return folder


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of the killed run; the data are put back afterwards."""
    shutil.copytree(stopped / "run", tmp_path / "run")
    yield tmp_path / "run"
    save(stopped)


def contents(folder):
    """The bytes of all files but the lock, which the killed run left."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name}


@pytest.mark.parametrize(
    ("x", "y", "named", "other"),
    [
        (X, changed(Y, 7, 2), "the labels (other values) changed", "inputs ("),
        (changed(X, slice(20), 0.5), Y, "the inputs (other values) changed", "labels ("),
        (changed(X, slice(20), 0.5), changed(Y, 7, 2), "the labels (other values) and the inputs (other values)", "!"),
        (X[:150], Y[:150], "the inputs (shape (150, 5) instead of (200, 5)) changed", "!"),
    ],
)
def test_data_that_changed_are_refused_by_name_and_nothing_is_touched(x, y, named, other, stopped, run, runner):
    save(stopped, x, y)
    before = contents(run)
    code, said = runner.run("fit", "--resume", run)
    assert code == 3, said
    (line,) = said.splitlines()
    assert f"{run} was made with other data than MappedArray in {stopped / 'x.npy'}, {stopped / 'y.npy'}: " in line
    assert named in line
    assert other not in line
    assert line.endswith("Put the old data back to go on, or start a new run by another --out.")
    assert contents(run) == before
    save(stopped)
    assert runner.run("fit", "--resume", run)[0] == 0
    assert differences(stopped / "golden", run) == []


def test_a_file_that_was_written_again_with_the_same_content_is_the_same(stopped, run, runner):
    os.utime(stopped / "x.npy", (1, 1))
    code, said = runner.run("fit", "--resume", run)
    assert code == 0, said
    assert "was written again" not in said
    assert differences(stopped / "golden", run) == []


def test_another_memory_budget_and_another_place_of_the_data_go_on_with_the_same_bits(stopped, run, runner, tmp_path):
    save(tmp_path)
    moved = ("--data.x", tmp_path / "x.npy", "--data.y", tmp_path / "y.npy")
    code, said = runner.run("fit", "--resume", run, "--data.memory_budget", "4kB", *moved)
    assert code == 0, said
    assert differences(stopped / "golden", run) == ["config.yaml"]


def test_data_of_another_place_that_are_others_are_refused(run, runner, tmp_path):
    save(tmp_path, changed(X, 0, 1))
    code, said = runner.run("fit", "--resume", run, "--data.x", tmp_path / "x.npy")
    assert code == 3, said
    assert "the inputs (other values) changed" in said


def test_a_run_of_a_version_that_recorded_no_data_goes_on_and_says_so(stopped, run, runner, tmp_path):
    state = json.loads((run / "state.json").read_text())
    assert set(state.pop("data")["parts"]) == {"inputs", "labels"}
    (run / "state.json").write_text(json.dumps(state))
    save(tmp_path)
    code, said = runner.run("fit", "--resume", run, "--data.x", tmp_path / "x.npy")
    assert (code, "data.init_args.x changed" in said) == (2, True), said
    code, said = runner.run("fit", "--resume", run)
    assert code == 0, said
    assert " ".join(said.split()).count("whether they changed since cannot be checked") == 1
    assert differences(stopped / "golden", run) == []
    assert RunState(run).data == RunState(stopped / "golden").data


def test_a_damaged_record_of_the_data_is_one_line(run, runner):
    state = json.loads((run / "state.json").read_text())
    state["data"]["parts"]["labels"] = 7
    (run / "state.json").write_text(json.dumps(state))
    code, said = runner.run("fit", "--resume", run)
    assert code == 5, said
    assert "state.json: data.parts.labels must be a group of keys, but is 7" in said


def test_a_run_from_python_is_held_to_its_data_too(tmp_path):
    layers = [lambda shape: PlainAutoencoder(shape, Dense(4))]
    other = Arrays(X, changed(Y, 7, 2))
    lengths = {"pretrain": Pretraining(epochs=1), "finetune": FineTuning(epochs=1), "report": False}
    Experiment(layers, Arrays(X, Y), **lengths).run(tmp_path)
    inputs = np.load(tmp_path / "stages" / "inputs.npz")["inputs"]
    with pytest.raises(DataError, match="the labels"):
        Experiment(layers, other, **lengths).run(tmp_path, resume=True)
    assert np.array_equal(np.load(tmp_path / "stages" / "inputs.npz")["inputs"], inputs)
    context = RunContext(out=tmp_path, resume=True, progress=False)
    with pytest.raises(DataError, match="the labels"):
        GreedyStack(other.in_shape, layers).fit(other, Pretraining(epochs=1), context)
    with pytest.raises(ConfigError, match="holds a run already"):
        Experiment(layers, other, **lengths).run(tmp_path)
    assert RunState(tmp_path).data == Arrays(X, Y).fingerprint()


def test_results_and_the_encoder_tell_what_the_data_were(stopped):
    recorded = RunState(stopped / "golden").data
    results = json.loads((stopped / "golden" / "results.json").read_text())
    encoder = json.loads((stopped / "golden" / "encoder" / "config.json").read_text())
    assert results["data"]["fingerprint"]["parts"]["labels"]["sha256"] == recorded.parts["labels"].sha256
    assert encoder["provenance"]["data"]["sha256"] == recorded.digest
