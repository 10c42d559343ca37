"""Loggers get one row per epoch, and what is measured is what a stock Trainer measures."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from aepretrain import Classifier, Dense, PlainAutoencoder, Regressor, RunContext
from aepretrain.data.batches import Batches
from aepretrain.training.options import StageSettings
from aepretrain.training.stage import train_stage


class Rows(Logger):
    """A logger that keeps what it gets."""

    name = version = ""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, params, *args, **kwargs): ...

    def log_metrics(self, metrics, step=None):
        self.rows.append((dict(metrics), step))


def autoencoder():
    torch.manual_seed(0)
    return PlainAutoencoder((6,), Dense(4))


def classifier():
    torch.manual_seed(0)
    return Classifier(torch.nn.Sequential(torch.nn.Linear(6, 4)), num_classes=3)


def regressor():
    torch.manual_seed(0)
    return Regressor(torch.nn.Sequential(torch.nn.Linear(6, 4)))


def examples(count):
    return [torch.rand(count, 6, generator=torch.Generator().manual_seed(count)), torch.arange(count) % 3]


def train(module, *, epochs=2, **settings):
    logger = Rows()
    context = RunContext(progress=False, loggers=lambda stage: [logger])
    # Validation takes three batches, the last two of them smaller.
    stage = StageSettings("00-test", epochs, 16, **settings)
    return train_stage(module, examples(48), examples(2500), stage, context), logger.rows


@pytest.mark.parametrize("make", [autoencoder, classifier, regressor])
def test_figures_are_those_of_a_stock_trainer(make):
    module = make()
    _, rows = train(module)
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(**options, inference_mode=False)
    held_out = Batches(examples(2500), 1024, shuffle=False)
    [expected] = trainer.validate(module, held_out, verbose=False)
    row, step = rows[-1]
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert row.keys() - expected.keys() == {"epoch", "train/loss", "epoch_seconds"}
    assert (row["epoch"], step) == (1, 5)


def test_loggers_get_one_row_per_epoch():
    record, rows = train(autoencoder(), epochs=2, validate_every=2)
    train_names = {"train/loss", "epoch_seconds", "epoch"}
    assert [row.keys() == train_names for row, _ in rows] == [True, False]
    assert [(row["epoch"], step) for row, step in rows] == [(0, 2), (1, 5)]
    assert all(type(value) in (float, int) for row, _ in rows for value in row.values())
    assert [{**epoch, "epoch": place} for place, epoch in enumerate(record.history)] == [row for row, _ in rows]
