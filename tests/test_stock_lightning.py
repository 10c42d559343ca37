"""A Lightning user feels at home: layers, heads and sources in a stock Trainer, stacks on the user's own Trainers."""

import json
import math
import warnings
from functools import partial

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.optim import SGD, Adam

from aepretrain import (
    Arrays,
    Classifier,
    DenoisingAutoencoder,
    Dense,
    Digits,
    FineTuning,
    GreedyStack,
    Pretraining,
    Regressor,
    RunContext,
    TrainerOptions,
    finetune,
)
from aepretrain.cli.main import main
from tests.support.variants import LAYERS, make

QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
SILENT = {**QUIET, "logger": False, "enable_checkpointing": False}


@pytest.fixture(autouse=True)
def advice_of_lightning():
    """What Lightning advises on every Trainer is not of interest here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*|.*Checkpoint directory.*")
        yield


def digits(**changes):
    return Digits(labels=50, **changes)


@pytest.mark.parametrize("name", LAYERS)
def test_every_variant_fits_validates_tests_and_predicts_in_a_stock_trainer(name, tmp_path):
    layer = make(name, in_shape=(1, 8, 8), coder=Dense(6))
    data = digits().for_pretraining(batch_size=64)
    trainer = Trainer(max_epochs=2, inference_mode=False, default_root_dir=tmp_path, logger=False, **QUIET)
    trainer.fit(layer, data)
    metrics = trainer.callback_metrics
    assert {"train/loss", "val/loss", "val/reconstruction", "val/dead_units"} <= metrics.keys()
    assert trainer.global_step == 2 * 19  # all 1197 unlabelled inputs, not the 50 with labels
    [validated] = trainer.validate(layer, data, verbose=False)
    assert validated["val/reconstruction"] == pytest.approx(metrics["val/reconstruction"].item())
    [tested] = trainer.test(layer, data, verbose=False)
    assert math.isfinite(tested["test/loss"])
    assert tested["test/reconstruction"] > 0
    codes = torch.cat(trainer.predict(layer, data))
    assert codes.shape == (300, 6)
    torch.testing.assert_close(codes, layer.encode(digits().splits().test.x).detach())


def test_a_layer_comes_back_from_a_checkpoint_of_lightning(tmp_path):
    layer = DenoisingAutoencoder((1, 8, 8), Dense(6))
    checkpoint = ModelCheckpoint(tmp_path, monitor="val/reconstruction")
    Trainer(max_epochs=1, callbacks=[checkpoint], logger=False, **QUIET).fit(layer, digits().for_pretraining())
    again = DenoisingAutoencoder.load_from_checkpoint(checkpoint.best_model_path, in_shape=(1, 8, 8), coder=Dense(6))
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(again.encode(x), layer.encode(x))


def test_heads_fit_validate_test_and_predict_in_a_stock_trainer():
    data = digits()
    data.batch_size = 25
    classifier = Classifier(nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())), 10)
    trainer = Trainer(max_epochs=3, **SILENT)
    trainer.fit(classifier, data)
    assert trainer.global_step == 3 * 2
    assert {"train/loss", "val/loss", "val/accuracy", "val/error"} <= trainer.callback_metrics.keys()
    [tested] = trainer.test(classifier, data, verbose=False)
    measured = classifier.measure(data.splits().test.x, data.splits().test.y)
    assert tested["test/accuracy"] == pytest.approx(accuracy_of(measured))
    assert torch.cat(trainer.predict(classifier, data)).shape == (300, 10)


def test_a_regressor_fits_validates_tests_and_predicts_in_a_stock_trainer():
    data = sums_of_pixels()
    data.batch_size = 48
    regressor = Regressor(nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())))
    regressor.fit_targets(data.splits().train.y)
    trainer = Trainer(max_epochs=3, **SILENT)
    trainer.fit(regressor, data)
    assert trainer.global_step == 3 * 5
    assert {"train/loss", "val/loss", "val/r2", "val/rmse", "val/mae"} <= trainer.callback_metrics.keys()
    [tested] = trainer.test(regressor, data, verbose=False)
    measured = regressor.measure(*data.splits().test.tensors())
    for name in ("loss", "r2", "rmse", "mae"):
        assert tested[f"test/{name}"] == pytest.approx(getattr(measured, name), rel=1e-4)
    torch.testing.assert_close(
        torch.cat(trainer.predict(regressor, data)).double(), torch.from_numpy(regressor.predict(data.splits().test.x))
    )


def accuracy_of(measured):
    return measured["accuracy"] if isinstance(measured, dict) else measured.accuracy


def both_roads(train):
    """The modules that the same training leaves by our own loop and by a stock Trainer."""
    return [train(TrainerOptions(accelerator="cpu", engine=engine)) for engine in ("loop", "lightning")]


def layers(shape=None):
    return [
        lambda shape: DenoisingAutoencoder(shape, Dense(12), optimizer=lambda p: SGD(p, lr=0.01, momentum=0.9)),
        lambda shape: make("dropout", in_shape=shape, coder=Dense(5)),
    ]


@pytest.mark.parametrize("patience", [None, 2])
def test_both_roads_end_with_the_same_weights(patience):
    def train(options):
        context = RunContext(seed=3, trainer=options, progress=False)
        stack = GreedyStack((1, 8, 8), layers(), seed=3)
        return stack.fit(Digits(), Pretraining(epochs=[3, 2], batch_size=64, patience=patience), context)

    loop, stock = both_roads(train)
    for one, other in zip(loop.state_dict().values(), stock.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    for one, other in zip(loop.records, stock.records, strict=True):
        assert (one.epochs, one.kept_epoch, one.steps) == (other.epochs, other.kept_epoch, other.steps)
        assert one.metrics["train/loss"] == pytest.approx(other.metrics["train/loss"], rel=1e-4)


def sums_of_pixels(**settings):
    """Digits whose sum of pixels is to be predicted."""
    x = Digits().splits().unlabelled[:400].flatten(1)
    return Arrays(x, x.sum(dim=1), **settings)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_both_roads_find_the_same_head(kind):
    def train(options):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh()))
        make = partial(Classifier, num_classes=10) if kind == "classifier" else Regressor
        head = make(encoder, dropout=0.2, max_norm=2.0)
        data = digits() if kind == "classifier" else sums_of_pixels(labels=50)
        context = RunContext(trainer=options, progress=False)
        return finetune(head, data, FineTuning(6, 16, patience=3), context)

    loop, stock = both_roads(train)
    assert loop.record.kept_epoch == stock.record.kept_epoch
    for one, other in zip(loop.head.state_dict().values(), stock.head.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


class Batches(Callback):
    """What a batch hook gets."""

    seen: list = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        Batches.seen.append(tuple(batch[0].shape))


def test_a_stack_trains_on_the_users_own_trainers_one_per_layer(tmp_path):
    made = []

    def trainer(stage):
        stopping = EarlyStopping("val/reconstruction", patience=1, min_delta=1e9)
        checkpoint = ModelCheckpoint(tmp_path / stage, monitor="val/reconstruction")
        made.append(Trainer(max_epochs=9, callbacks=[stopping, checkpoint, Batches()], logger=False, **QUIET))
        return made[-1]

    Batches.seen.clear()
    stack = GreedyStack((1, 8, 8), layers())
    stack.fit(Digits(), Pretraining(batch_size=100), RunContext(progress=False), trainer=trainer)
    assert len(made) == 2
    assert [record.epochs for record in stack.records] == [2, 2]  # each stops by itself
    assert set(Batches.seen) == {(100, 1, 8, 8), (97, 1, 8, 8), (100, 12), (97, 12)}
    assert [len(list((tmp_path / stage).glob("*.ckpt"))) for stage in stack.stages] == [1, 1]
    head = Classifier(stack.encoder, 10)
    tuned = finetune(
        head, digits(), FineTuning(batch_size=25), RunContext(progress=False), pretrained=stack.encoder,
        trainer=lambda stage: Trainer(max_epochs=3, **SILENT),
    )  # fmt: skip
    assert (tuned.record.epochs, tuned.record.steps, tuned.weights_arrived) == (3, 6, True)


def config(tmp_path, **changes):
    layer = {
        "class_path": "DenoisingAutoencoder",
        "init_args": {"coder": {"class_path": "Dense", "init_args": {"features": 6}}},
    }
    values = {
        "data": {"class_path": "Digits", "init_args": {"labels": 50}}, "layers": [layer, layer], "report": False,
        "pretrain": {"epochs": 9, "batch_size": 64}, "finetune": {"epochs": 3}, "loggers": [], **changes,
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    return str(tmp_path / "run.yaml")


STOPPING = {
    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
    "init_args": {"monitor": "train/loss", "patience": 1, "min_delta": 1e9},
}


def test_callbacks_of_a_config_are_made_anew_for_every_stage(tmp_path):
    file = config(tmp_path, callbacks=[STOPPING], trainer={"engine": "lightning", "accelerator": "cpu"})
    assert main(["fit", "--config", file, "--out", str(tmp_path / "run")]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [stage["epochs"] for stage in results["stages"]] == [2, 2]
    assert results["classifier"]["epochs"] == 2
    again = (tmp_path / "run" / "config.yaml").read_text()
    assert "lightning.pytorch.callbacks.EarlyStopping" in again


def test_callbacks_are_refused_by_the_loop_and_the_way_out_is_named(tmp_path, capsys):
    file = config(tmp_path, callbacks=[STOPPING])
    assert main(["fit", "--config", file, "--out", str(tmp_path / "run")]) == 2
    assert "Set --trainer.engine lightning, or leave them out." in capsys.readouterr().err


def test_schedules_that_are_made_of_others_can_be_given_in_a_config(tmp_path):
    warm_up = {"class_path": "torch.optim.lr_scheduler.LinearLR", "init_args": {"start_factor": 0.1, "total_iters": 2}}
    cosine = {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 3}}
    schedule = {"class_path": "Schedules", "init_args": {"schedules": [warm_up, cosine], "milestones": [2]}}
    for kind in ("Schedules", "aepretrain.parts.schedules.Schedules"):
        schedule["class_path"] = kind
        file = config(tmp_path, classifier={"scheduler": schedule}, pretrain={"epochs": 1})
        out = tmp_path / kind
        assert main(["fit", "--config", file, "--out", str(out)]) == 0
        assert json.loads((out / "results.json").read_text())["classifier"]["epochs"] == 3


def test_a_head_for_regression_is_one_file_and_finetunes_like_any_other():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 5, generator=generator)
    data = Arrays(x, 30 * x @ torch.arange(5.0))
    encoder = nn.Sequential(nn.Sequential(nn.Linear(5, 8), nn.Tanh()))
    head = Regressor(encoder, optimizer=partial(Adam, lr=0.02))
    tuned = finetune(head, data, FineTuning(40, 16), RunContext(progress=False))
    assert tuned.record.history[-1]["val/loss"] < 0.1 * tuned.record.history[0]["val/loss"]
    test = data.splits().test
    measured = tuned.head.measure(test.x, test.y)
    assert measured.r2 > 0.9
    residual = (test.y - tuned.head(test.x).detach()[:, 0]).square().mean().sqrt().item()
    assert measured.rmse == pytest.approx(residual, rel=1e-5)
