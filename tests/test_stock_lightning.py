"""A Lightning user feels at home: layers, heads and sources in a stock Trainer, stacks on the user's own Trainers."""

import io
import json
import math
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
)
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from aepretrain import (
    Arrays,
    Bernoulli,
    Classifier,
    ConfigError,
    DataError,
    DenoisingAutoencoder,
    Dense,
    Digits,
    FineTuning,
    GreedyStack,
    Masking,
    PlainAutoencoder,
    Pretraining,
    Regressor,
    RunContext,
    Schedules,
    SparseAutoencoder,
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
    again = DenoisingAutoencoder.load_from_checkpoint(checkpoint.best_model_path, weights_only=True)
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(again.encode(x), layer.encode(x))


def saved(module, data, folder):
    """The checkpoint of a module after an epoch."""
    trainer = Trainer(max_epochs=1, inference_mode=False, **SILENT)
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt"


def test_a_checkpoint_holds_optimizers_and_schedules_that_are_classes_or_partials(tmp_path):
    steps = partial(Schedules, schedules=[LinearLR, partial(StepLR, step_size=3)], milestones=[2])
    layer = SparseAutoencoder((1, 8, 8), Dense(6), lam=0.2, optimizer=partial(SGD, lr=0.5), scheduler=steps)
    file = saved(layer, digits().for_pretraining(), tmp_path)
    again = SparseAutoencoder.load_from_checkpoint(file, weights_only=True)
    made = again.configure_optimizers()
    assert (again.lam, again.coder, type(made["optimizer"])) == (0.2, Dense(6), SGD)
    assert made["optimizer"].param_groups[0]["initial_lr"] == 0.5
    assert made["lr_scheduler"]["scheduler"]._milestones == [2]
    other = SparseAutoencoder.load_from_checkpoint(file, weights_only=True, lam=0.1, optimizer=Adam)
    assert (other.lam, other.optimizer) == (0.1, Adam)


def test_what_a_checkpoint_cannot_hold_is_asked_for_or_told(tmp_path):
    layer = DenoisingAutoencoder((1, 8, 8), Dense(6), optimizer=lambda parameters: SGD(parameters, lr=0.1))
    file = saved(layer, digits().for_pretraining(), tmp_path)
    with pytest.warns(UserWarning, match="a.ckpt holds no optimizer, .* the default is taken. Give it again"):
        assert DenoisingAutoencoder.load_from_checkpoint(file, weights_only=True).optimizer is Adam

    class Own(Bernoulli):
        pass

    layer = DenoisingAutoencoder((1, 8, 8), Dense(6), likelihood=Own())
    file = saved(layer, digits().for_pretraining(), tmp_path)
    with pytest.raises(ConfigError, match=r"holds no likelihood, .*load_from_checkpoint\(path, likelihood=...\)"):
        DenoisingAutoencoder.load_from_checkpoint(file, weights_only=True)
    again = DenoisingAutoencoder.load_from_checkpoint(file, weights_only=True, likelihood=Own())
    assert type(again.L) is Own
    encoder = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16))  # noqa: E731
    file = saved(Classifier(encoder(), 10, dropout=0.2), digits(), tmp_path)
    with pytest.raises(ConfigError, match="holds no encoder"):
        Classifier.load_from_checkpoint(file, weights_only=True)
    head = Classifier.load_from_checkpoint(file, weights_only=True, encoder=encoder())
    assert (head.num_classes, head.dropout.p) == (10, 0.2)


class Scaled(Bernoulli):
    """A likelihood of one's own, whose constructor takes more than its fields."""

    def __init__(self, weight):
        super().__init__()
        object.__setattr__(self, "weight", weight)


def test_a_part_whose_fields_are_not_all_of_it_is_asked_for(tmp_path):
    layer = DenoisingAutoencoder((1, 8, 8), Dense(6), likelihood=Scaled(7.0))
    file = saved(layer, digits().for_pretraining(), tmp_path)
    with pytest.raises(ConfigError, match="holds no likelihood"):
        DenoisingAutoencoder.load_from_checkpoint(file, weights_only=True)


class Widened(DenoisingAutoencoder):
    """A layer of one's own that hands on what it is given."""

    def __init__(self, *args, extra=1, **options):
        super().__init__(*args, **options)
        self.extra = extra


def test_layers_of_ones_own_and_numbers_of_numpy_come_back_also_from_a_file_in_memory(tmp_path):
    parts = {"likelihood": Bernoulli(), "corruption": Masking(np.float64(0.3))}
    layer = Widened((1, 8, 8), Dense(np.int64(6)), extra=np.float32(0.5), **parts)
    file = saved(layer, digits().for_pretraining(), tmp_path)
    for place in (file, io.BytesIO(file.read_bytes())):
        again = Widened.load_from_checkpoint(place, weights_only=True)
        assert (again.extra, again.L, again.coder, again.corruption) == (0.5, Bernoulli(), Dense(6), Masking(0.3))


@pytest.mark.parametrize("name", ["strict", "weights_only", "hparams_file", "map_location"])
def test_a_checkpoint_changes_no_argument_of_lightning(name, tmp_path):
    file = saved(PlainAutoencoder((1, 8, 8), Dense(6)), digits().for_pretraining(), tmp_path)
    changed = torch.load(file, weights_only=True)
    changed["hyperparameters"][name] = False
    torch.save(changed, file)
    with pytest.raises(ConfigError, match=f"names {name}, which is no argument of a module"):
        PlainAutoencoder.load_from_checkpoint(file, weights_only=True)


@pytest.mark.parametrize("path", ["os.path.join", "torch.nn.Linear", "aepretrain.data.columns.Column", "no.such.Thing"])
def test_a_checkpoint_makes_nothing_but_parts_and_optimizers(path, tmp_path):
    file = saved(PlainAutoencoder((1, 8, 8), Dense(6)), digits().for_pretraining(), tmp_path)
    for key in ("class_path", "factory"):
        changed = torch.load(file, weights_only=True)
        changed["hyperparameters"]["coder"] = {key: path, "init_args": {}}
        torch.save(changed, file)
        with pytest.raises(ConfigError, match=f"names {path}, which is no class that is known here"):
            PlainAutoencoder.load_from_checkpoint(file, weights_only=True)


def test_a_part_of_a_checkpoint_that_cannot_be_made_is_one_line(tmp_path):
    file = saved(PlainAutoencoder((1, 8, 8), Dense(6)), digits().for_pretraining(), tmp_path)
    changed = torch.load(file, weights_only=True)
    changed["hyperparameters"]["coder"]["init_args"]["features"] = 0
    torch.save(changed, file)
    with pytest.raises(ConfigError, match="the checkpoint's Dense cannot be made: a Dense layer needs at least 1 unit"):
        PlainAutoencoder.load_from_checkpoint(file, weights_only=True)


def test_loaders_of_bare_tensors_train_and_encode_every_example():
    x = digits().splits().unlabelled[:60]
    layers = [DenoisingAutoencoder((1, 8, 8), Dense(6)) for _ in range(2)]
    layers[1].load_state_dict(layers[0].state_dict())
    for layer, data in zip(layers, (x, TensorDataset(x)), strict=True):
        torch.manual_seed(0)
        Trainer(max_epochs=1, **SILENT).fit(layer, DataLoader(data, 20), DataLoader(data, 20))
    assert torch.equal(layers[0].f.affine.weight, layers[1].f.affine.weight)
    assert torch.cat(Trainer(**SILENT).predict(layers[0], DataLoader(x, 20))).shape == (60, 6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image": torch.rand(1, 8, 8)}] * 4, "a batch must hold tensors alone, but is or holds dict"),
        ([(torch.rand(1, 8, 8), "owl")] * 4, "a batch must hold tensors alone, but is or holds other values"),
    ],
)
def test_batches_of_other_things_are_refused_in_one_line(rows, message):
    loader = DataLoader(rows, 2)
    with pytest.raises(DataError, match=message):
        Trainer(max_epochs=1, **SILENT).fit(DenoisingAutoencoder((1, 8, 8), Dense(6)), loader, loader)


def test_a_head_without_labels_is_refused_in_one_line():
    head = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)), 10)
    data = digits().for_pretraining()
    for act in (Trainer.fit, Trainer.validate, Trainer.test):
        with pytest.raises(DataError, match=r"a Classifier takes batches of .* this one has 1 tensor\."):
            act(Trainer(max_epochs=1, **SILENT), head, data)


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
    trainer = Trainer(max_epochs=3, **SILENT)
    trainer.fit(regressor, data)
    y = data.splits().train.y  # the head has seen all targets before its first step, as finetune shows them
    torch.testing.assert_close(regressor.target_mean, y.mean()[None])
    torch.testing.assert_close(regressor.target_scale, y.std(correction=0)[None])
    regressor.fit_targets(torch.tensor([1.0, 3.0]))
    Trainer(max_epochs=1, **SILENT).fit(regressor, data)
    assert regressor.target_mean == 2  # it has seen others
    other = Regressor(nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh())))
    other.load_state_dict(regressor.state_dict())
    Trainer(max_epochs=1, **SILENT).fit(other, data)
    assert other.target_mean == 2  # they came with the weights
    regressor.fit_targets(y)
    assert trainer.global_step == 3 * 5
    assert {"train/loss", "val/loss", "val/r2", "val/rmse", "val/mae"} <= trainer.callback_metrics.keys()
    [tested] = trainer.test(regressor, data, verbose=False)
    measured = regressor.measure(*data.splits().test.tensors())
    for name in ("loss", "r2", "rmse", "mae"):
        assert tested[f"test/{name}"] == pytest.approx(getattr(measured, name), rel=1e-4)
    torch.testing.assert_close(
        torch.cat(trainer.predict(regressor, data)).double(), torch.from_numpy(regressor.predict(data.splits().test.x))
    )


def test_balanced_weights_of_classes_are_taken_from_the_loader_of_a_stock_trainer():
    data = digits()
    head = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16)), 10, class_weights="balanced")
    Trainer(max_epochs=1, **SILENT).fit(head, data)
    torch.testing.assert_close(head.class_weight, torch.ones(10))  # 50 labels are 5 of each class


class Stream(IterableDataset):
    """Examples without a number of them."""

    def __iter__(self):
        return iter([(torch.rand(4), torch.rand(())) for _ in range(32)])


@pytest.mark.parametrize("options", [{"num_workers": 1, "persistent_workers": True}, {"shuffle": True}])
def test_a_look_at_the_targets_changes_nothing_of_the_training(options):
    rows = TensorDataset(torch.rand(48, 4), torch.rand(48))
    weights = []
    for known in (False, True):
        torch.manual_seed(0)
        head, trainer = Regressor(nn.Sequential(nn.Linear(4, 3))), Trainer(max_epochs=2, **SILENT)
        if known:
            head.fit_targets(rows.tensors[1])
        trainer.fit(head, DataLoader(rows, 16, **options), DataLoader(rows, 16))
        assert trainer.global_step == 6
        weights.append(head.head.weight.detach())
    torch.testing.assert_close(*weights)


def test_targets_of_a_loader_without_length_are_not_read_and_that_is_told():
    head, trainer = Regressor(nn.Sequential(nn.Linear(4, 3))), Trainer(max_epochs=1, limit_val_batches=0, **SILENT)
    with pytest.warns(UserWarning, match="Regressor has not seen the targets, as the loader has no length"):
        trainer.fit(head, DataLoader(Stream(), 16), DataLoader(Stream(), 16))
    assert (trainer.global_step, head.target_scale) == (2, 1)


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


def test_callbacks_whose_defaults_are_enumerations_can_be_given_in_a_config(tmp_path):
    timer = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"duration": "00:01:00:00"}}
    file = config(tmp_path, callbacks=[timer], trainer={"engine": "lightning", "accelerator": "cpu"})
    assert main(["fit", "--config", file, "--out", str(tmp_path / "run"), "--pretrain.epochs", "1"]) == 0
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert kept["callbacks"][0]["init_args"]["interval"] == "step"


SCHEDULE = "torch.optim.lr_scheduler."
REFUSED = {
    "too short": (
        {"class_path": f"{SCHEDULE}OneCycleLR", "init_args": {"max_lr": 0.1, "total_steps": 20}},
        "00-denoising: OneCycleLR ends after 20 steps, but the stage may take 38. Set its total_steps to 38.",
    ),
    "per update inside": (
        {"class_path": "Schedules", "init_args": {"milestones": [2], "schedules": [
            {"class_path": f"{SCHEDULE}LinearLR"},
            {"class_path": f"{SCHEDULE}OneCycleLR", "init_args": {"max_lr": 0.1, "total_steps": 90}},
        ]}},
        "schedules must step after every epoch, but OneCycleLR does after every update",
    ),
    **{
        name: (
            {"class_path": f"{SCHEDULE}{name}", "init_args": {"schedulers": [{"class_path": f"{SCHEDULE}LinearLR"}]}},
            "need an optimizer, which a config cannot give. One after another they are {class_path: Schedules",
        )
        for name in ("SequentialLR", "ChainedScheduler")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_schedules_that_cannot_work_are_refused_before_training(name, tmp_path, capsys):
    schedule, message = REFUSED[name]
    layer = {"class_path": "DenoisingAutoencoder", "init_args": {
        "coder": {"class_path": "Dense", "init_args": {"features": 4}}, "scheduler": schedule,
    }}  # fmt: skip
    file = config(tmp_path, layers=[layer], pretrain={"epochs": 2, "batch_size": 64})
    for verb, words in (("validate", []), ("fit", ["--out", str(tmp_path / "run")])):
        assert main([verb, "--config", file, *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["loop", "lightning"])
def test_a_schedule_that_ends_before_its_stage_is_refused_from_python(engine):
    layer = [
        lambda shape: DenoisingAutoencoder(shape, Dense(4), scheduler=partial(OneCycleLR, max_lr=1, total_steps=9))
    ]
    stack = GreedyStack((1, 8, 8), layer)
    context = RunContext(progress=False, trainer=TrainerOptions(engine=engine, accelerator="cpu"))
    with pytest.raises(ConfigError, match="ends after 9 steps, but the stage may take 10"):
        stack.fit(digits(), Pretraining(1, 128), context)


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


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_trainers_of_another_true_precision_leave_float32(precision):
    stack = GreedyStack((1, 8, 8), layers())
    make_trainer = lambda stage: Trainer(max_epochs=1, precision=precision, **SILENT)  # noqa: E731
    stack.fit(digits(), Pretraining(1, 128), RunContext(progress=False), trainer=make_trainer)
    assert {weight.dtype for weight in stack.encoder.parameters()} == {torch.float32}
    assert math.isfinite(stack.results()[1].losses.reconstruction)


@pytest.mark.filterwarnings("ignore:.*barebones")
@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (lambda: Trainer(**SILENT), "trainer must be a function that makes a new Trainer for every stage, .* Trainer"),
        (lambda: lambda stage: None, "but is or gives NoneType"),
        (lambda: lambda stage: Trainer(barebones=True, max_epochs=1), "logs no train/loss, which is recorded"),
        (lambda: lambda stage: Trainer(max_epochs=1, callbacks=[BatchSizeFinder()], **SILENT), "00-denoising: The Bat"),
    ],
)
def test_what_makes_no_usable_trainer_is_refused_in_one_line(trainer, message):
    with pytest.raises(ConfigError, match=message):
        GreedyStack((1, 8, 8), layers()).fit(
            digits(), Pretraining(1, 128), RunContext(progress=False), trainer=trainer()
        )


def test_callbacks_that_are_no_functions_are_refused():
    options = TrainerOptions(engine="lightning")
    with pytest.raises(ConfigError, match=r"but EarlyStopping is none. Give lambda: EarlyStopping\(...\)"):
        RunContext(trainer=options, callbacks=[EarlyStopping("val/loss")])


ENDINGS = {
    "swa": lambda: StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=1),
    "ema": lambda: EMAWeightAveraging(decay=0.9),
    "pruning": lambda: ModelPruning("l1_unstructured", amount=0.3),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_callbacks_that_change_the_last_weights_have_the_last_word_and_are_measured(name, capsys):
    options = TrainerOptions(engine="lightning", accelerator="cpu")
    context = RunContext(progress=False, trainer=options, callbacks=[ENDINGS[name]])
    data = digits()
    stack = GreedyStack((1, 8, 8), layers()[:1])
    stack.fit(data, Pretraining(4, 128), context)
    [layer], x = list(stack), data.splits().validation.x
    reconstruction = layer.L(x, layer.g(layer.f(x))).mean().item()
    assert stack.records[0].metrics["val/reconstruction"] == pytest.approx(reconstruction, rel=1e-5)
    head = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh()), 10)
    tuned = finetune(head, data, FineTuning(4, 25), context)
    assert tuned.record.kept_epoch == 3
    assert tuned.record.metrics["val/accuracy"] == pytest.approx(head.measure(x, data.splits().validation.y).accuracy)
    assert "keeps the weights that" in capsys.readouterr().out


def test_averaging_without_validation_is_not_measured():
    trainer = lambda stage: Trainer(max_epochs=2, limit_val_batches=0, callbacks=[ENDINGS["ema"]()], **SILENT)  # noqa: E731
    stack = GreedyStack((1, 8, 8), layers()[:1])
    stack.fit(digits(), Pretraining(1, 128), RunContext(progress=False), trainer=trainer)
    assert "val/reconstruction" not in stack.records[0].metrics


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
