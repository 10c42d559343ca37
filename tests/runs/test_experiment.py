"""One run per directory, from Python as from the command."""

import pytest

import aepretrain as ae
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
