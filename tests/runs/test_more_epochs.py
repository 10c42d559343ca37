"""A finished run that is given more epochs ends as one that had them from the start."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import aepretrain as ae
from aepretrain.cli.main import main
from aepretrain.training.options import Saving
from aepretrain.training.recovery.run_state import LAST, RunState
from tests.support.runs import FAST, SCHEDULE, differences
from tests.support.tables import X, save, write_config

pytestmark = pytest.mark.usefixtures("quick_embeddings")
NETWORK = {"dropout": 0.3, **FAST, **SCHEDULE}


def config(folder, **changes):
    return str(write_config(folder, **{"classifier": NETWORK, "finetune": {"epochs": 4, "batch_size": 32}, **changes}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of 4 epochs, of which one keeps its last checkpoint, and one of 7 epochs."""
    folder = tmp_path_factory.mktemp("runs")
    save(folder)
    words = ["fit", "--config", config(folder)]
    assert main([*words, "--out", str(folder / "short")]) == 0
    assert main([*words, "--checkpoint.keep_last", "true", "--out", str(folder / "kept")]) == 0
    assert main([*words, "--finetune.epochs", "7", "--out", str(folder / "long")]) == 0
    return folder


@pytest.fixture
def copied(folder, tmp_path):
    """Copies a run, to change the copy."""
    return lambda name: Path(shutil.copytree(folder / name, tmp_path / name))


def said(capsys):
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def epochs_of(run):
    return yaml.safe_load((run / "config.yaml").read_text())["finetune"]["epochs"]


def test_more_epochs_end_as_if_they_had_been_there_from_the_start(folder, copied, capsys):
    run = copied("short")
    assert main(["fit", "--resume", str(run), "--more-epochs", "3"]) == 0
    assert "classifier goes on from" not in said(capsys)
    assert differences(run, folder / "long") == []
    assert (epochs_of(run), RunState(run).status) == (7, "finished")
    assert main(["fit", "--resume", str(run)]) == 0
    assert "is finished: there is nothing left to do" in said(capsys)


def test_a_kept_checkpoint_spares_the_epochs_of_before_and_changes_nothing(folder, copied, capsys):
    run = copied("kept")
    checkpoint = run / "stages" / "classifier" / LAST
    assert list((run / "stages").rglob("*.ckpt")) == [checkpoint]
    for _ in range(3):
        assert main(["fit", "--resume", str(run), "--more-epochs", "1"]) == 0
        assert f"classifier goes on from {checkpoint}" in said(capsys)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["checkpoint"]["keep_last"]
    names = set(differences(run, folder / "long"))
    assert names == {"stages/classifier/last.ckpt", "config.yaml"}  # they differ in keep_last alone


def test_a_kill_after_the_run_is_opened_again_loses_nothing(folder, copied):
    run = copied("short")
    state = RunState(run)
    state.reopen("classifier")
    state.set_status("stopped")
    assert main(["fit", "--resume", str(run)]) == 0
    assert differences(run, folder / "short") == []
    assert epochs_of(run) == 4


def test_a_run_that_is_not_finished_or_did_not_fine_tune_is_refused(folder, copied, tmp_path, capsys):
    run = copied("short")
    RunState(run).set_status("stopped")
    assert main(["fit", "--resume", str(run), "--more-epochs", "3"]) == 2
    assert f"{run} is stopped. Leave it out to go on with that run, then add epochs." in said(capsys)
    assert main(["fit", "--config", config(folder), "--finetune.epochs", "0", "--out", str(tmp_path / "none")]) == 0
    said(capsys)
    assert main(["fit", "--resume", str(tmp_path / "none"), "--more-epochs", "3"]) == 2
    assert "did not fine-tune. To pretrain longer, begin a new run with its layers by --warm_start" in said(capsys)


def test_a_run_that_patience_ended_is_refused(copied, capsys):
    run = copied("short")
    results = json.loads((run / "results.json").read_text())
    results["classifier"]["epochs"] = 3
    (run / "results.json").write_text(json.dumps(results))
    assert main(["fit", "--resume", str(run), "--more-epochs", "3"]) == 2
    assert f"patience ended fine-tuning of {run} after 3 of 4 epochs" in said(capsys)


@pytest.mark.parametrize("number", ["0", "-3", "x", "1.5"])
def test_the_number_of_epochs_is_a_whole_one_from_1(number, folder, capsys):
    assert main(["fit", "--resume", str(folder / "short"), f"--more-epochs={number}"]) == 2
    assert f"--more-epochs must be a whole number >= 1, but is {number}" in said(capsys)


def test_more_epochs_need_a_run_to_resume(folder, capsys):
    assert main(["fit", "--config", config(folder), "--more-epochs", "3"]) == 2
    assert "--more-epochs 3 adds epochs to a finished run, but none is named. Name it by --resume." in said(capsys)


def test_other_settings_still_must_not_change(folder, capsys):
    words = ["--resume", str(folder / "short"), "--more-epochs", "3", "--seed", "5"]
    assert main(["fit", *words]) == 2
    assert f"{folder / 'short'} was started with other settings: seed changed" in said(capsys)


@pytest.mark.parametrize("keep_last", [False, True])
def test_an_experiment_takes_more_epochs_from_python(keep_last, tmp_path):
    short = ae.Experiment(
        [lambda shape: ae.PlainAutoencoder(shape, ae.Dense(4))],
        ae.Digits(labels=100),
        ae.Pretraining(1, 256),
        finetune=ae.FineTuning(2, 50),
        report=False,
        checkpoint=Saving(keep_last=keep_last),
    )
    short.run(tmp_path / "run")
    found = ae.add_epochs(short, tmp_path / "run", 2).run(tmp_path / "run", resume=True)
    long = replace(short, finetune=ae.FineTuning(4, 50)).run(tmp_path / "long")
    assert found.classifier.epochs == 4
    assert set(differences(tmp_path / "run", tmp_path / "long")) <= {f"stages/classifier/{LAST}"}
    assert found.classifier.test == long.classifier.test
    with pytest.raises(ae.ConfigError, match="must be >= 1, but got 0"):
        ae.add_epochs(short, tmp_path / "run", 0)


def test_a_run_of_several_processes_is_refused(copied, capsys):
    run = copied("short")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings["trainer"]["devices"] = 2
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    assert main(["fit", "--resume", str(run), "--more-epochs", "3"]) == 2
    assert "--more-epochs is for runs of one process, but trainer.devices is 2" in said(capsys)
    assert RunState(run).status == "finished"


def test_a_regressor_takes_more_epochs_too(tmp_path):
    data = ae.Arrays(X, X[:, 0] + 0.5 * X[:, 1], target_type="real")
    layers, pretrain = [lambda shape: ae.PlainAutoencoder(shape, ae.Dense(4))], ae.Pretraining(1, 256)
    short = ae.Experiment(layers, data, pretrain, finetune=ae.FineTuning(2, 50), report=False)
    short.run(tmp_path / "run")
    ae.add_epochs(short, tmp_path / "run", 2).run(tmp_path / "run", resume=True)
    replace(short, finetune=ae.FineTuning(4, 50)).run(tmp_path / "long")
    assert RunState(tmp_path / "run").stage("regressor")["status"] == "finished"
    assert differences(tmp_path / "run", tmp_path / "long") == []
