"""One run per directory, from Python as from the command."""

from dataclasses import replace

import pytest

import aepretrain as ae
from aepretrain.results.stage import StageRecord
from aepretrain.runs.directory import note_steps
from aepretrain.training.recovery.run_state import METRICS


def layer(shape):
    return ae.PlainAutoencoder(shape, ae.Dense(4))


def other_layer(shape):
    return ae.SparseAutoencoder(shape, ae.Dense(3))


def experiment(*layers, **changes):
    lengths = {"pretrain": ae.Pretraining(1, 64), "finetune": ae.FineTuning(1, 64), "report": False}
    return ae.Experiment(list(layers or (layer,)), ae.Digits(labels=100), **{**lengths, **changes})


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A directory with a finished run, which made it, and which nothing may change."""
    out = tmp_path_factory.mktemp("run") / "not" / "there"
    found = experiment().run(out)
    before = contents(out)
    yield out, found
    assert contents(out) == before


REFUSED = "holds a run already, with .*, and a run never mixes with another. Name a new directory, or give resume=True"


@pytest.mark.parametrize("again", [experiment(), experiment(other_layer), experiment(finetune=ae.FineTuning(0))])
def test_a_second_run_in_one_directory_is_refused(finished, again):
    with pytest.raises(ae.ConfigError, match=f"{finished[0]} {REFUSED}"):
        again.run(finished[0])


@pytest.mark.parametrize("layers", [(layer,), (other_layer,)])
def test_a_stack_is_not_trained_into_the_directory_of_another_run(finished, layers):
    out, _ = finished
    with pytest.raises(ae.ConfigError, match=REFUSED):
        experiment(*layers).pretrain_stack(out)
    stack, data = ae.GreedyStack((1, 8, 8), layers), ae.Digits()
    with pytest.raises(ae.ConfigError, match=REFUSED):
        stack.fit(data, ae.Pretraining(1), ae.RunContext(out=out, progress=False))


def test_a_classifier_is_not_trained_into_the_directory_of_another(finished):
    out, _ = finished
    encoder = experiment().build_stack().encoder
    with pytest.raises(ae.ConfigError, match=f"with classifier, .*{REFUSED[-20:]}"):
        experiment().train_classifier(encoder, out)
    head = ae.Classifier(encoder, 10)
    with pytest.raises(ae.ConfigError, match=REFUSED):
        ae.finetune(head, ae.Digits(labels=100), ae.FineTuning(1), ae.RunContext(out=out, progress=False))


def test_a_directory_with_metrics_alone_is_refused_too(tmp_path):
    (tmp_path / METRICS).write_text("{}\n")
    with pytest.raises(ae.ConfigError, match=r"holds metrics\.jsonl of a run already"):
        experiment().run(tmp_path)


def test_a_finished_run_that_is_resumed_finds_the_same_and_logs_nothing_twice(tmp_path):
    found = experiment().run(tmp_path)
    rows = (tmp_path / METRICS).read_text()
    again = experiment().run(tmp_path, resume=True)
    assert again.classifier.test == found.classifier.test
    assert (tmp_path / METRICS).read_text() == rows


def test_a_stack_and_two_heads_of_one_run_share_a_directory(tmp_path):
    data, context = ae.Digits(labels=100), ae.RunContext(out=tmp_path, progress=False)
    stack = ae.GreedyStack(data.in_shape, [layer]).fit(data, ae.Pretraining(1), context)
    for stage in ("classifier", "probe"):
        head = ae.Classifier(stack.encoder, 10, freeze_encoder=stage == "probe")
        ae.finetune(head, data, ae.FineTuning(1), context, pretrained=stack.encoder, stage=stage)
    assert {path.name for path in (tmp_path / "stages").iterdir()} == {"00-plain", "classifier", "probe"}


@pytest.mark.parametrize("steps", ["launched", "recorded"])
def test_the_config_tells_how_the_steps_of_each_stage_were_taken(steps, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("seed: 0")
    experiment(trainer=ae.TrainerOptions(steps=steps)).run(tmp_path)
    expected = ["seed: 0", f"# 00-plain took {steps} steps", f"# classifier took {steps} steps"]
    assert config.read_text().splitlines() == expected
    before = config.stat().st_mtime_ns
    record = StageRecord("classifier", 1, 0, 2, 0.1, [{}], "cpu", 1, step_mode=steps)
    note_steps(tmp_path, [record])
    assert config.stat().st_mtime_ns == before
    note_steps(tmp_path, [replace(record, step_mode="compiled")])
    assert config.read_text().splitlines() == [*expected[:2], "# classifier took compiled steps"]
