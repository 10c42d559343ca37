import json
import re
from contextlib import nullcontext
from io import StringIO

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from rich.console import Console
from torch import nn

from aepretrain import (
    ConfigError,
    DenoisingAutoencoder,
    Dense,
    Pretraining,
    RunContext,
    TrainerOptions,
)
from aepretrain.console import format_duration
from aepretrain.pretraining.encoding import encode_dataset
from aepretrain.tracking.metrics_file import MetricsFile
from aepretrain.training import progress
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.devices import build_fabric, num_processes
from aepretrain.training.options import StageSettings, check_length
from aepretrain.training.stage import train_stage
from tests.support.watching import batches_of

QUIET = RunContext(progress=False)


def train(model, x, context=QUIET, **kwargs):
    settings = StageSettings(**{"name": "00-test", "epochs": 2, "batch_size": 16, **kwargs})
    return train_stage(model, [x], [x], settings, context)


def model():
    torch.manual_seed(0)
    return DenoisingAutoencoder((6,), Dense(4))


def test_a_stage_is_a_function_of_its_seed():
    x = torch.rand(50, 6)
    weights = []
    for seed in (0, 0, 1):
        torch.rand(3)
        trained = model()
        train(trained, x, RunContext(seed=seed, progress=False))
        weights.append(trained.f.affine.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_stage_is_the_plain_loop_of_the_textbook(monkeypatch):
    x, trained = torch.rand(48, 6), model()
    trained.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.1)
    trained.corruption = lambda x, generator: x
    seen = batches_of(monkeypatch)
    train(trained, x)

    by_hand = model()
    for (batch,) in seen:
        loss = (0.5 * (batch - by_hand.g(by_hand.f(batch))) ** 2).sum() / len(batch)
        by_hand.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in by_hand.parameters():
                parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(trained.state_dict(), by_hand.state_dict())


def test_the_record_and_the_metrics_file_tell_the_same(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.touch()
    record = train(model(), torch.rand(50, 6), RunContext(progress=False, loggers=lambda s: [MetricsFile(path, s)]))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("stage", "epoch", "step", "name", "value")}
    last = {row["name"]: row["value"] for row in rows if row["epoch"] == 1}
    assert last == pytest.approx(record.metrics)
    assert {"train/loss", "val/loss", "val/reconstruction", "epoch_seconds", "val/dead_units"} <= last.keys()
    assert record.epochs == 2
    assert record.steps == 8
    assert 0 < last["epoch_seconds"] < record.seconds
    assert {row["step"] for row in rows if row["name"] == "val/loss"} == {3, 7}


def test_patience_stops_early_and_the_best_epoch_is_put_back():
    trained = model()
    trained.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=1e-3, maximize=True)
    x = torch.rand(50, 6)
    record = train(trained, x, epochs=50, patience=2, keep_best=True)
    assert record.epochs < 50
    assert record.kept_epoch == record.epochs - 3
    reconstruction = trained.L(x, trained.g(trained.f(x))).mean().item()
    assert reconstruction == pytest.approx(record.metrics["val/reconstruction"], rel=1e-4)


def test_the_best_weights_survive_in_a_checkpoint():
    best = BestWeights("val/accuracy", "max")
    best.best, best.epoch, best.waited, best.weights = (0.5, -0.7), 3, 1, {"w": torch.ones(2)}
    again = BestWeights("val/accuracy", "max")
    again.load_state_dict(best.state_dict())
    assert (again.best, again.epoch, again.waited, again.weights) == ((0.5, -0.7), 3, 1, best.weights)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_goes_through_to_lightning(precision):
    options = TrainerOptions(accelerator="cpu", precision=precision).for_fabric()
    with pytest.warns(UserWarning, match="fp16") if precision == "16-mixed" else nullcontext():
        fabric = build_fabric(**options)
    assert fabric.strategy.precision.precision == "bf16-mixed"  # a CPU has no other


def test_the_number_of_machines_goes_through_to_lightning():
    options = TrainerOptions(accelerator="cpu", devices=2, num_nodes=3, strategy="ddp", precision="bf16-mixed")
    assert num_processes(build_fabric(**options.for_fabric())) == 6


def test_callbacks_are_refused_where_our_own_loop_trains():
    with pytest.raises(ConfigError, match=r"callbacks are called by Lightning's Trainer, and trainer\.engine is loop"):
        RunContext(callbacks=[EarlyStopping])


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_tells_the_time_left_on_a_terminal(width, monkeypatch):
    terminal = Console(width=width, force_terminal=True, file=StringIO(), color_system=None)
    monkeypatch.setattr(progress, "console", terminal)
    train(model(), torch.rand(2000, 6), RunContext(), name="00-contractive", epochs=30)
    lines = [line for line in re.split(r"[\r\n]", terminal.file.getvalue()) if "00-contractive" in line]
    later = [line for line in lines if "epoch" in line]
    assert later
    assert all(re.search(r"left \d:\d\d:\d\d \d+/30 epochs", line) for line in later)


def test_what_lightning_refuses_is_a_config_error():
    with pytest.raises(ConfigError, match=r"^trainer: .*\bnonsense\b"):
        train(model(), torch.rand(50, 6), RunContext(progress=False, trainer=TrainerOptions(strategy="nonsense")))


def test_encoding_in_batches_is_encoding_at_once_and_can_be_trained_on():
    f = nn.Sequential(nn.Linear(6, 3), nn.Sigmoid())
    x = torch.rand(5000, 6)
    codes = encode_dataset(f, x)
    torch.testing.assert_close(codes, f(x).detach())
    assert not codes.requires_grad
    assert not codes.is_inference()


def test_lengths_may_be_one_value_or_one_per_layer():
    assert Pretraining(epochs=[3, 4], batch_size=8).of_layer(1, 2) == (4, 8, None)
    with pytest.raises(ConfigError, match="2 values for 3 layers"):
        Pretraining(epochs=[3, 4]).of_layer(0, 3)
    with pytest.raises(ConfigError, match=r"pretrain.epochs must be >= 1, but got 0"):
        Pretraining(epochs=0).of_layer(0, 1)
    for arguments, name in (((-1, 1, None), "epochs"), ((1, 0, None), "batch_size"), ((1, 1, 0), "patience")):
        with pytest.raises(ConfigError, match=f"finetune.{name}"):
            check_length("finetune", *arguments)


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.96, "1 min 00 s"), (3600, "1 h 00 min")])
def test_durations_are_written_as_a_person_would(seconds, text):
    assert format_duration(seconds) == text
