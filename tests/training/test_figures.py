"""What a module logs in validation reaches callbacks and loggers as by Lightning's own log."""

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from aepretrain import Classifier, Dense, PlainAutoencoder, RunContext
from aepretrain.data.batches import Batches
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


def examples(count):
    return [torch.rand(count, 6, generator=torch.Generator().manual_seed(count)), torch.arange(count) % 3]


def train(module, *callbacks, epochs=2, **settings):
    logger = Rows()
    context = RunContext(progress=False, loggers=lambda stage: [logger], callbacks=callbacks)
    settings = {"stage": "00-test", "epochs": epochs, "batch_size": 16, "monitor": "val/loss", **settings}
    # Validation takes three batches, the last two of them smaller.
    return train_stage(module, examples(48), examples(2500), context, **settings), logger.rows


@pytest.mark.parametrize("make", [autoencoder, classifier])
def test_figures_are_those_of_lightnings_own_log(make):
    module = make()
    _, rows = train(module)
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(**options, inference_mode=False)
    held_out = Batches(examples(2500), 1024, shuffle=False)
    [expected] = trainer.validate(module, held_out, verbose=False)
    row, step = rows[-2]
    assert {name: row[name] for name in expected} == expected
    assert row.keys() - expected.keys() == {"epoch"}
    assert (row["epoch"], step) == (1, 5)


def test_loggers_get_one_row_of_validation_and_one_of_training():
    _, rows = train(autoencoder(), epochs=2, validate_every=2)
    train_names = {"train/loss", "epoch_seconds", "epoch"}
    assert [row.keys() == train_names for row, _ in rows] == [True, False, True]
    assert [(row["epoch"], step) for row, step in rows] == [(0, 2), (1, 5), (1, 5)]
    assert all(type(value) in (float, int) for row, _ in rows for value in row.values())


def test_callbacks_find_the_losses_when_validation_ends_and_then_all_figures():
    seen = []

    class Watch(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            seen.append(("losses", float(trainer.callback_metrics["val/loss"])))

        def on_validation_end(self, trainer, pl_module):
            seen.append(("all", float(trainer.callback_metrics["val/loss"])))
            assert {"val/dead_units", "val/informative_units"} <= trainer.callback_metrics.keys()
            assert trainer.logged_metrics["val/loss"] == trainer.callback_metrics["val/loss"]

    record, _ = train(autoencoder(), Watch())
    losses = [epoch["val/loss"] for epoch in record.history]
    assert seen == [(when, loss) for loss in losses for when in ("losses", "all")]


def test_what_is_logged_in_another_way_goes_to_lightning():
    class Talkative(Classifier):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            self.log("val/rows", float(len(batch[0])), reduce_fx="sum")
            self.log_dict({"val/number": 3.0}, batch_size=1, sync_dist=True)
            self.log_dict({"val/largest": batch[0].max()}, reduce_fx="max", batch_size=len(batch[0]))

    torch.manual_seed(0)
    module = Talkative(torch.nn.Sequential(torch.nn.Linear(6, 4)), num_classes=3)
    record, rows = train(module, epochs=1)
    largest = examples(2500)[0].max().item()
    expected = {"val/rows": 2500.0, "val/number": 3.0, "val/largest": largest}
    assert expected.items() <= record.metrics.items()
    assert {**expected, "epoch": 0} in [row for row, _ in rows]


def test_a_module_logs_by_itself_again_after_its_stage():
    module = autoencoder()
    train(module)
    assert "log_dict" not in vars(module)
