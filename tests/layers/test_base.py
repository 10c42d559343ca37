"""What a stage module gives to a stock Trainer: optimizer, schedule, steps and the figures that it logs."""

from functools import partial

import pytest
import torch
from torch import distributed
from torch.optim import SGD
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau, StepLR

from aepretrain import Classifier, Dense, PlainAutoencoder, VariationalAutoencoder
from tests.support.variants import make


def layer(**kwargs):
    return PlainAutoencoder((6,), Dense(4), optimizer=partial(SGD, lr=0.1), **kwargs)


def logged(module, monkeypatch):
    """What the module logs from now on."""
    rows = []
    monkeypatch.setattr(module, "log", lambda name, value, **how: rows.append(({name: value}, how)))
    monkeypatch.setattr(module, "log_dict", lambda values, **how: rows.append((values, how)))
    return rows


def test_the_optimizer_has_all_that_is_trained_and_nothing_else():
    module = layer()
    module.g.requires_grad_(False)
    (group,) = module.configure_optimizers().param_groups
    assert [id(weights) for weights in group["params"]] == [id(weights) for weights in module.f.parameters()]


@pytest.mark.parametrize(
    ("schedule", "interval"),
    [
        (partial(StepLR, step_size=1), "epoch"),
        (partial(OneCycleLR, max_lr=1.0, total_steps=5), "step"),
        (partial(CyclicLR, base_lr=0.1, max_lr=1.0), "step"),
        (ReduceLROnPlateau, "epoch"),
    ],
)
def test_schedules_step_when_they_should_and_a_plateau_watches_what_decides(schedule, interval):
    module = Classifier(torch.nn.Linear(6, 4), 2, optimizer=partial(SGD, lr=0.1, momentum=0.9), scheduler=schedule)
    found = module.configure_optimizers()
    scheduler, how = found["lr_scheduler"].pop("scheduler"), found["lr_scheduler"]
    assert scheduler.optimizer is found["optimizer"]
    watched = {"monitor": "val/accuracy"} if schedule is ReduceLROnPlateau else {}
    assert how == {"interval": interval, **watched}
    if watched:
        assert (scheduler.mode, scheduler.best) == ("max", -float("inf"))
        scheduler.step(0.5)
        assert scheduler.best == 0.5


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_a_training_step_weighs_its_gradient_by_its_share_and_logs_the_loss_by_itself(share, monkeypatch):
    module, x = layer(), torch.rand(5, 6)
    rows = logged(module, monkeypatch)
    module.share_weight = share
    loss = module.training_step([x], 0)
    torch.testing.assert_close(loss, share * module.energy(x).mean())
    ((row, how),) = rows
    torch.testing.assert_close(row["train/loss"], module.energy(x).mean())
    expected = {"on_step": False, "on_epoch": True, "batch_size": 5 if share else 0, "sync_dist": True}
    assert how == expected


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_step_of_validation_or_test_logs_means_under_its_own_name(split, monkeypatch):
    module, x = make("contractive").eval(), torch.rand(5, 6)
    rows = logged(module, monkeypatch)
    getattr(module, {"val": "validation_step", "test": "test_step"}[split])([x], 0)
    getattr(module, {"val": "on_validation_epoch_end", "test": "on_test_epoch_end"}[split])()
    (values, how), (totals, how_in_all) = rows
    expected = {f"{split}/{name}": value.mean() for name, value in module.validation_values(x).items()}
    torch.testing.assert_close(values, expected)
    assert how == {"batch_size": 5, "sync_dist": True}
    assert f"{split}/dead_units" in totals
    assert how_in_all == {"batch_size": 1, "sync_dist": True}


def test_hits_of_examples_are_logged_as_their_share(monkeypatch):
    module = layer()
    rows = logged(module, monkeypatch)
    monkeypatch.setattr(module, "validation_values", lambda x: {"hit": x[:, 0] > 0.5})
    module.validation_step([torch.tensor([[0.1], [0.9], [0.8], [0.7]])], 0)
    assert rows[0][0]["val/hit"].item() == 0.75


def test_logged_sizes_make_up_for_the_mean_that_lightning_takes_over_processes(monkeypatch):
    module = layer()
    rows = logged(module, monkeypatch)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    module.training_step([torch.rand(5, 6)], 0)
    monkeypatch.setattr(distributed, "is_available", lambda: False)
    module.training_step([torch.rand(5, 6)], 0)
    assert [how["batch_size"] for _, how in rows] == [15, 5]


def test_a_variational_code_is_measured_against_its_prior():
    module = VariationalAutoencoder((6,), Dense(4))
    module.code_statistics.update(0.01 * torch.randn(100, 4))
    assert module.code_statistics.compute()["informative_units"].item() == 0
    assert module.share_weight == 1.0
