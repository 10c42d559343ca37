"""A scheduler that waits for a plateau watches the figure that chooses the epoch."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aepretrain import (
    Classifier,
    ConfigError,
    Dense,
    Digits,
    FineTuning,
    PlainAutoencoder,
    Regressor,
    RunContext,
    SparseAutoencoder,
    TrainerOptions,
    finetune,
)
from aepretrain.cli.config import build_parser, parse
from aepretrain.training.stage import check_training


def classifier(scheduler, made=None):
    torch.manual_seed(3)

    def optimizer(parameters):
        built = torch.optim.Adam(parameters, lr=0.01)
        if made is not None:
            made.append(built)
        return built

    f = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU())
    return Classifier(f, 10, optimizer=optimizer, scheduler=scheduler)


@pytest.mark.parametrize("engine", ["loop", "lightning"])
def test_the_rate_falls_when_the_accuracy_and_not_the_loss_stands_still(engine):
    made = []
    model = classifier(partial(ReduceLROnPlateau, factor=0.5, patience=1), made)
    context = RunContext(progress=False, trainer=TrainerOptions(engine=engine, accelerator="cpu"))
    record = finetune(model, Digits(labels=200), FineTuning(25, 32), context).record
    rates = {}
    for name, mode in (("val/accuracy", "max"), ("val/loss", "min")):
        by_hand = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
        scheduler = ReduceLROnPlateau(by_hand, mode=mode, factor=0.5, patience=1)
        for row in record.history:
            scheduler.step(row[name])
        rates[name] = by_hand.param_groups[0]["lr"]
    assert rates["val/accuracy"] != rates["val/loss"]
    assert made[-1].param_groups[0]["lr"] == pytest.approx(rates["val/accuracy"])


@pytest.mark.parametrize(
    ("model", "monitor", "mode"),
    [
        (classifier(ReduceLROnPlateau), "val/accuracy", "max"),
        (classifier(lambda o: ReduceLROnPlateau(o, patience=3)), "val/accuracy", "max"),
        (classifier(partial(ReduceLROnPlateau, mode="max")), "val/accuracy", "max"),
        (Regressor(nn.Linear(4, 3), scheduler=ReduceLROnPlateau), "val/loss", "min"),
        (PlainAutoencoder((4,), Dense(3), scheduler=ReduceLROnPlateau), "val/reconstruction", "min"),
    ],
)
def test_it_watches_what_decides_with_its_mode(model, monitor, mode):
    made = model.configure_optimizers()["lr_scheduler"]
    by_hand = ReduceLROnPlateau(torch.optim.SGD([torch.zeros(1)], lr=1.0), mode=mode)
    assert (made["monitor"], made["scheduler"].mode) == (monitor, mode)
    assert (made["scheduler"].best, made["scheduler"].mode_worse) == (by_hand.best, by_hand.mode_worse)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            classifier(partial(ReduceLROnPlateau, mode="min")),
            r"mode min, but watches val/accuracy, .* larger\. .* to max",
        ),
        (
            SparseAutoencoder((4,), Dense(3), scheduler=lambda o: ReduceLROnPlateau(o, mode="max")),
            r"mode max, but watches val/reconstruction, which decides and is better when smaller\. .* set it to min",
        ),
    ],
)
def test_a_mode_that_contradicts_is_refused(model, words):
    with pytest.raises(ConfigError, match=words):
        check_training(RunContext(), {"stage": model}, {"stage": 8})


def test_the_resolved_config_names_the_mode_that_trains(tmp_path):
    layer = "{class_path: PlainAutoencoder, init_args: {coder: {class_path: Dense, init_args: {features: 4}}}}"
    config = tmp_path / "config.yaml"
    config.write_text(f"layers: [{layer}]\ncontrol: {{layers: [{layer}]}}\n")

    def read(path, *words):
        return parse(build_parser("fit"), ["--config", str(path), *words], own=())

    words = [f"--{prefix}classifier.scheduler=ReduceLROnPlateau" for prefix in ("", "control.")]
    parsed = read(config, *words)
    assert parsed.yaml.count("mode: max") == 2
    config.write_text(parsed.yaml)
    again = read(config)
    assert again.yaml == parsed.yaml
    again.experiment.prepare()
    contradicting = read(config, "--classifier.scheduler.mode=min")
    with pytest.raises(ConfigError, match=r"classifier: .*ReduceLROnPlateau has mode min, but watches val/accuracy"):
        contradicting.experiment.prepare()
