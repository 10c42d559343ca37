"""A stage that is finished is loaded, one that was stopped goes on, and one that cannot be trained is refused."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from aepretrain import Classifier, ConfigError, Dense, PlainAutoencoder, RunContext, StorageError, TrainerOptions
from aepretrain.data.batches import EVALUATION_BATCH
from aepretrain.errors import StoppedError
from aepretrain.training import stage as module
from aepretrain.training.options import Saving, StageSettings
from aepretrain.training.recovery import signals
from aepretrain.training.recovery.checkpoints import Checkpoints
from aepretrain.training.stage import check_training, optimizer_of, train_stage
from tests.support.watching import before_chunks

X = torch.rand(50, 6, generator=torch.Generator().manual_seed(0))
SETTINGS = StageSettings("00-x", 3, 16)
SAVING = {"saving": Saving(every_steps=2), "trainer": TrainerOptions(chunk_steps=2), "progress": False}


def layer(**kwargs):
    torch.manual_seed(0)
    return PlainAutoencoder((6,), Dense(4), **kwargs)


def train(made, folder=None, *, settings=SETTINGS, first=None, x=X, **context):
    context = RunContext(out=folder, **{"progress": False, **context})
    return train_stage(made, [x], [x], settings, context, before_first_step=first)


def stopped(folder, monkeypatch, step=4):
    """Train up to a step, where a signal comes."""

    def stop(state):
        if state.step == step:
            raise StoppedError("enough", 15)

    before_chunks(monkeypatch, stop)
    with pytest.raises(StoppedError):
        train(layer(), folder, **SAVING)
    monkeypatch.undo()


def test_a_stage_without_epochs_is_refused_by_name():
    with pytest.raises(
        ConfigError, match=r"a stage needs at least 1 epoch, but 00-x got 0\. Leave the stage out instead"
    ):
        train(layer(), settings=StageSettings("00-x", 0, 16))


def test_a_finished_stage_is_taken_as_it_is(tmp_path, capsys):
    made, checked = layer(), []
    record = train(made, tmp_path)
    again = layer().train()
    assert train(again, tmp_path, resume=True, first=checked.append) == record
    assert "00-x  finished before, 3 epochs: taken as it is" in capsys.readouterr().out
    assert not again.training
    assert not checked
    for name, weights in made.state_dict().items():
        assert torch.equal(again.state_dict()[name], weights)
    with pytest.raises(ConfigError, match="holds a run already, with 00-x"):
        train(layer(), tmp_path)
    assert train(layer(), tmp_path, settings=replace(SETTINGS, name="00-x.y")).epochs == 3  # another name


def test_a_signal_that_came_before_a_stage_stops_it_there(monkeypatch):
    monkeypatch.setattr(signals, "_received", 15)
    with pytest.raises(StoppedError, match="stopped by SIGTERM before 00-x"):
        train(layer())


def test_the_first_check_is_made_before_the_first_step_and_not_when_a_stage_goes_on(tmp_path, monkeypatch):
    seen, whole = [], layer()
    record = train(whole, tmp_path / "whole", first=lambda m: seen.append(m.f.affine.weight.clone()), **SAVING)
    assert torch.equal(seen[0], layer().f.affine.weight)
    stopped(tmp_path / "stopped", monkeypatch)
    again, looked = layer(), []
    found = train(again, tmp_path / "stopped", first=looked.append, resume=True, **SAVING)
    assert not looked
    for name, weights in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], weights)
    assert [{**row, "epoch_seconds": 0} for row in found.history] == [
        {**row, "epoch_seconds": 0} for row in record.history
    ]
    assert (found.steps, found.kept_epoch) == (record.steps, record.kept_epoch)


def test_a_run_that_is_resumed_begins_a_stage_that_has_not_begun(tmp_path):
    seen = []
    assert train(layer(), tmp_path, resume=True, first=seen.append).epochs == 3
    assert len(seen) == 1


@pytest.mark.parametrize("error", [KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError])
def test_a_checkpoint_that_does_not_fit_is_told_with_its_folder(error, tmp_path, monkeypatch):
    stopped(tmp_path, monkeypatch)

    def refuse(state, checkpoint):
        raise error("no")

    monkeypatch.setattr(module.TrainingState, "load_state_dict", refuse)
    words = (
        rf"the checkpoint in {tmp_path}/stages/00-x does not fit this stage: {error.__name__}: .*no.*Remove it to start"
    )
    with pytest.raises(StorageError, match=words):
        train(layer(), tmp_path, resume=True, **SAVING)


def test_a_lack_of_memory_is_no_damage_to_a_checkpoint(tmp_path, monkeypatch):
    stopped(tmp_path, monkeypatch)

    def refuse(state, checkpoint):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(module.TrainingState, "load_state_dict", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        train(layer(), tmp_path, resume=True, **SAVING)


def test_metrics_behind_the_checkpoint_are_cut_off(tmp_path, monkeypatch):
    stopped(tmp_path, monkeypatch)
    checkpoint = Checkpoints(RunContext(out=tmp_path).files("00-x")).load()
    (tmp_path / "metrics.jsonl").write_text("{}\n" * 50)
    seen = []
    before_chunks(monkeypatch, lambda state: seen.append((tmp_path / "metrics.jsonl").stat().st_size))
    train(layer(), tmp_path, resume=True, **SAVING)
    assert seen[0] == checkpoint["metrics_bytes"] < 150


@pytest.mark.parametrize(
    ("accumulate", "size"), [(1, EVALUATION_BATCH), (3, EVALUATION_BATCH // 3), (EVALUATION_BATCH + 1, 1)]
)
def test_validation_takes_large_batches_which_accumulation_makes_smaller(accumulate, size, monkeypatch):
    sizes, batches = [], module.Batches
    monkeypatch.setattr(module, "Batches", lambda x, n, **how: sizes.append((n, how)) or batches(x, n, **how))
    train(layer(), settings=replace(SETTINGS, epochs=1), trainer=TrainerOptions(accumulate=accumulate), x=X[:8])
    assert [n for n, _ in sizes] == [16, size]
    assert sizes[1][1] == {"shuffle": False}


def test_a_module_ends_on_the_cpu_in_evaluation_mode_with_its_best_weights():
    made = layer(optimizer=lambda p: SGD(p, lr=0.05, maximize=True))
    record = train(made, settings=StageSettings("00-x", 5, 16, keep_best=True))
    assert (record.kept_epoch, made.training) == (0, False)
    loss = made.L(X, made.g(made.f(X))).mean().item()
    assert loss == pytest.approx(record.history[0]["val/reconstruction"], rel=1e-5)
    made = layer(optimizer=lambda p: SGD(p, lr=0.05, maximize=True))
    record = train(made, settings=StageSettings("00-x", 5, 16, keep_best=False))
    assert record.kept_epoch == 4
    assert made.L(X, made.g(made.f(X))).mean().item() == pytest.approx(
        record.history[4]["val/reconstruction"], rel=1e-5
    )


class Finalized:
    """A logger that remembers how it was closed."""

    def __init__(self):
        self.words = []

    def log_metrics(self, metrics, step): ...
    def save(self): ...

    def finalize(self, status):
        self.words.append(status)


def test_loggers_are_closed_at_the_end():
    logger = Finalized()
    train(layer(), loggers=lambda stage: [logger])
    assert logger.words == ["success"]


def test_an_optimizer_comes_with_its_scheduler_or_none():
    optimizer, scheduler = optimizer_of(layer(optimizer=partial(SGD, lr=0.1)))
    assert (type(optimizer), scheduler) == (SGD, None)
    optimizer, scheduler = optimizer_of(layer(scheduler=lambda o: StepLR(o, 2)))
    assert (type(scheduler), scheduler.optimizer) == (StepLR, optimizer)


@pytest.mark.parametrize(
    ("name", "kwargs", "batch_size", "message"),
    [
        ("00-x", {"optimizer": partial(SGD, lr=-1.0)}, 16, "00-x: the optimizer or scheduler cannot be made: Invalid"),
        (
            "00-x",
            {"scheduler": lambda o: StepLR(o)},
            16,
            "00-x: the optimizer or scheduler cannot be made: .*step_size",
        ),
        ("../x", {}, 16, "must"),
    ],
)
def test_what_would_fail_in_a_later_stage_is_refused_before_the_first(name, kwargs, batch_size, message):
    modules = {"fine": Classifier(nn.Linear(6, 4), 2), name: layer(**kwargs)}
    with pytest.raises(ConfigError, match=message):
        check_training(RunContext(), modules, {name: batch_size})
    check_training(RunContext(), {"00-x": layer()}, {"00-x": 1})


def test_processes_must_share_a_batch_equally():
    two = RunContext(trainer=TrainerOptions(accelerator="cpu", devices=2, strategy="ddp"))
    check_training(two, {}, {"00-x": 16, "01-x": 2})
    with pytest.raises(ConfigError, match=r"^01-x: .*15"):
        check_training(two, {}, {"00-x": 16, "01-x": 15})
