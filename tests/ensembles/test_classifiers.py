"""Classifiers of many seeds at once: what as many separate runs of fine-tuning find, and leave."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adafactor
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

from aepretrain import (
    AEPretrainError,
    Arrays,
    Classifier,
    ConfigError,
    DenoisingAutoencoder,
    Dense,
    Digits,
    Experiment,
    FineTuning,
    Pretraining,
)
from aepretrain.compare import Comparison, Trial, compare, ensembles
from aepretrain.ensembles.linear import SeedLinear
from aepretrain.ensembles.stages import finetune_ensemble
from aepretrain.ensembles.train import reason_impossible, reason_not_faster
from aepretrain.finetuning.finetune import finetune
from aepretrain.training.context import RunContext
from aepretrain.training.options import TrainerOptions
from aepretrain.training.recovery.stage_files import StageFiles
from tests.ensembles.test_autoencoders import SEEDS, assert_ends_alike, contexts
from tests.ensembles.test_autoencoders import table as rows_of

CPU = TrainerOptions(accelerator="cpu")


def examples(labels=70):
    """Four classes that overlap, of which every seed has labelled examples of its own."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    x = (nn.functional.one_hot(y, 6) * 0.4 + torch.randn(400, 6, generator=generator) * 0.3).float()
    return Arrays(x, y, validation=0.3, test=0.2, labels=labels)


def encoder(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh()), nn.Sequential(nn.Linear(8, 5)))


def classifiers(**settings):
    return [Classifier(encoder(seed), 4, **settings) for seed in SEEDS]


def assert_alike(finetuning, **settings):
    data = examples()
    together, alone = classifiers(**settings), classifiers(**settings)
    tuned = finetune_ensemble(together, data, finetuning, contexts())
    for found, twin, context in zip(tuned, alone, contexts(), strict=True):
        expected = finetune(twin, data, finetuning, context)
        assert_ends_alike(found.head, found.record, twin, expected.record)
        assert found.weights_arrived is None
    return tuned


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"freeze_encoder": True},
        {"dropout": 0.4, "input_dropout": 0.2},
        {"max_norm": 0.5},
        {"max_norm": 0.5, "freeze_encoder": True},
        {"weight_decay": 0.1, "layer_lr_decay": 0.5},
        {"label_smoothing": 0.2},
        {"optimizer": partial(SGD, lr=0.2, momentum=0.9), "scheduler": partial(ExponentialLR, gamma=0.8)},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_every_setting_ends_where_separate_runs_end(settings):
    tuned = assert_alike(FineTuning(epochs=6, batch_size=16), **{"optimizer": partial(SGD, lr=0.2), **settings})
    for each, seed in zip(tuned, SEEDS, strict=True):
        before = encoder(seed).state_dict()
        moved = not torch.equal(each.head.encoder.state_dict()["1.0.weight"], before["1.0.weight"])
        assert moved == (not settings.get("freeze_encoder", False))


@pytest.mark.parametrize("validate_every", [1, 2])
def test_patience_stops_each_seed_where_it_would_stop_alone(validate_every):
    length = FineTuning(epochs=40, batch_size=16, patience=3, validate_every=validate_every)
    tuned = assert_alike(length, optimizer=partial(SGD, lr=0.1))
    epochs = [each.record.epochs for each in tuned]
    assert len(set(epochs)) > 1
    assert min(epochs) < 40
    assert all(each.record.kept_epoch == each.record.epochs - 1 - 3 * validate_every for each in tuned)


def test_the_length_of_a_chunk_changes_no_bit():
    weights = []
    for steps in (1, 64):
        trainer = replace(CPU, chunk_steps=steps)
        tuned = finetune_ensemble(classifiers(dropout=0.5), examples(), FineTuning(3, 16), contexts(trainer=trainer))
        weights.append([tensor for each in tuned for tensor in each.head.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_pretrained_weights_are_looked_for_in_the_batched_model(monkeypatch):
    settings = (examples(), FineTuning(1, 16), contexts())
    tuned = finetune_ensemble(classifiers(), *settings, pretrained=[encoder(seed) for seed in SEEDS])
    assert [each.weights_arrived for each in tuned] == [True] * 3
    wrong = [encoder(seed) for seed in (0, 1, 2)]
    with pytest.raises(AEPretrainError, match="did not arrive in the classifier"):
        finetune_ensemble(classifiers(), *settings, pretrained=wrong)
    build = SeedLinear.__init__

    def mix_up(self, linears):
        build(self, linears[::-1])

    monkeypatch.setattr(SeedLinear, "__init__", mix_up)
    with pytest.raises(AEPretrainError, match="did not arrive in the classifier"):
        finetune_ensemble(classifiers(), *settings, pretrained=[encoder(seed) for seed in SEEDS])


class Other(Classifier):
    """A classifier of somebody else's."""


@pytest.mark.parametrize(
    ("classifier", "reason"),
    [
        (Other(nn.Linear(6, 3), 2), "the classifier Other is not known"),
        (Classifier(nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), 2), "the encoder's BatchNorm1d is not known"),
        (Classifier(nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 3)), 2), "BatchNorm1d is not known"),
        (Classifier(nn.Sequential(nn.Linear(6, 3), nn.Softmax(1)), 2), "the encoder's Softmax is not known"),
        (Classifier(nn.Linear(6, 3, bias=False), 2), "a linear layer of the encoder has no bias"),
        (
            Classifier(nn.Linear(6, 3), 2, optimizer=Adafactor),
            "the optimizer Adafactor does not treat every weight by itself",
        ),
        (Classifier(nn.Linear(6, 3), 2, scheduler=ReduceLROnPlateau), "ReduceLROnPlateau goes by the figures of one"),
    ],
)
def test_classifiers_that_have_to_be_trained_one_seed_after_another(classifier, reason):
    assert reason in reason_impossible(classifier, RunContext())


def test_auto_leaves_large_classifiers_alone():
    assert reason_not_faster(Classifier(nn.Linear(6, 3), 2), [], CPU) is None
    assert "matrices of 80000 weights" in reason_not_faster(Classifier(nn.Linear(100, 800), 2), [], CPU)


COMPARISON = Comparison(seeds=3, labels=[50, 100], arms=["pretrained", "random", "probe"], baselines=[])


def experiment(**changes):
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(16))  # noqa: E731
    settings = {"report": False, "pretrain": Pretraining(epochs=2), "finetune": FineTuning(4, 16, patience=2)}
    return Experiment([layer], Digits(), **{**settings, **changes})


def table(folder):
    return [{name: row[name] for name in row if name != "seconds"} for row in rows_of(folder)]


def leave_in(folder, name="off", comparison=COMPARISON, **changes):
    compare(experiment(**changes), comparison, folder / name, vectorize=name)
    return folder / name


def test_a_comparison_leaves_cells_as_they_are_left_one_by_one(tmp_path, capsys):
    together, alone = leave_in(tmp_path, "on"), leave_in(tmp_path, "off")
    assert capsys.readouterr().out.count("18/18") == 2
    assert {path.relative_to(together) for path in together.rglob("*")} == {
        path.relative_to(alone) for path in alone.rglob("*")
    }
    for row, twin in zip(table(together), table(alone), strict=True):
        for name in ("validation_accuracy", "test_accuracy"):
            assert float(row.pop(name)) == pytest.approx(float(twin.pop(name)), abs=0.01)
        assert row == twin


def test_auto_does_the_same_where_it_gains_and_says_why_where_not(tmp_path, monkeypatch, capsys):
    assert table(leave_in(tmp_path, "auto")) == table(leave_in(tmp_path, "on"))
    capsys.readouterr()
    monkeypatch.setattr(ensembles, "finetune_ensemble", None)
    plateau = partial(Classifier, scheduler=ReduceLROnPlateau)
    compare(experiment(classifier=plateau), COMPARISON, tmp_path / "apart", vectorize="auto")
    assert capsys.readouterr().out.count("one seed after another: the scheduler ReduceLROnPlateau goes by") == 1
    with pytest.raises(ConfigError, match=r"pretrained, 50 labels: the seeds cannot be trained at once: the scheduler"):
        compare(experiment(classifier=plateau), COMPARISON, tmp_path / "refused", vectorize="on")


def test_every_setting_that_may_be_chosen_has_to_be_one_for_many_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ensembles, "finetune_ensemble", None)
    grid = {"classifier.scheduler": [None, ReduceLROnPlateau]}
    comparison = replace(COMPARISON, labels=[50], arms=["random"], grid=grid, splits="fixed")
    settings = [{"classifier.scheduler": scheduler} for scheduler in ("none", "plateau")]
    networks = [experiment(), experiment(classifier=partial(Classifier, scheduler=ReduceLROnPlateau))]
    trials = [Trial(network, settings=own) for network, own in zip(networks, settings, strict=True)]
    compare(experiment(), comparison, tmp_path, trials=trials, vectorize="auto")
    assert "one seed after another: the scheduler ReduceLROnPlateau goes by" in capsys.readouterr().out


def test_the_first_seed_chooses_the_settings_alone(tmp_path):
    grid = {"finetune.epochs": [1, 4]}
    comparison = replace(COMPARISON, labels=[50], arms=["random"], grid=grid, splits="fixed")
    for name in ("on", "off"):
        trials = [
            Trial(experiment(finetune=FineTuning(epochs, 16)), settings={"finetune.epochs": epochs})
            for epochs in grid["finetune.epochs"]
        ]
        compare(experiment(), comparison, tmp_path / name, trials=trials, vectorize=name)
    assert [row["hyperparameters"] for row in table(tmp_path / "on")] == [
        row["hyperparameters"] for row in table(tmp_path / "off")
    ]
    assert (tmp_path / "on/runs/random-50-seed0/trials").is_dir()
    assert not (tmp_path / "on/runs/random-50-seed1/trials").exists()


def test_cells_that_were_stopped_together_begin_again_together(tmp_path, monkeypatch):
    golden = leave_in(tmp_path, "on")
    commit, seen = StageFiles.commit, []

    def stop_after_the_fifth(self, *arguments):
        seen.append(self.stage)
        if seen.count("classifier") == 5:  # the second of the second group
            raise KeyboardInterrupt
        commit(self, *arguments)

    out = tmp_path / "stopped"
    monkeypatch.setattr(StageFiles, "commit", stop_after_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        compare(experiment(), COMPARISON, out, vectorize="on")
    monkeypatch.undo()
    assert [path.name for path in (out / "runs").glob("together*")] == ["together-pretrained-100.json"]
    compare(experiment(), COMPARISON, out, vectorize="on")
    assert table(out) == table(golden)
    for name in ("pretrained-100-seed0", "pretrained-100-seed1", "random-50-seed2"):
        weights = f"runs/{name}/stages/classifier/model.safetensors"
        assert (out / weights).read_bytes() == (golden / weights).read_bytes()
    assert not list((out / "runs").glob("together*"))


def test_a_cell_that_was_trained_together_goes_on_alone(tmp_path, monkeypatch):
    """Stopped when its classifier was trained, but before its row was written."""
    golden, out = leave_in(tmp_path, "on"), tmp_path / "stopped"
    monkeypatch.setattr("aepretrain.compare.supervised.measure", None)
    with pytest.raises(TypeError):
        compare(experiment(), COMPARISON, out, vectorize="on")
    monkeypatch.undo()
    assert not list((out / "runs").glob("together*"))
    compare(experiment(), COMPARISON, out, vectorize="on")
    assert table(out) == table(golden)


def test_with_a_division_of_its_own_every_seed_chooses_its_settings(tmp_path):
    comparison = replace(COMPARISON, labels=[50], arms=["random"], grid={"finetune.epochs": [1, 4]})
    trials = [
        Trial(experiment(finetune=FineTuning(epochs, 16)), settings={"finetune.epochs": epochs}) for epochs in (1, 4)
    ]
    with pytest.raises(ConfigError, match=r"every seed chooses its own settings\. Use compare\.splits fixed"):
        compare(experiment(), comparison, tmp_path / "on", trials=trials, vectorize="on")
    compare(experiment(), comparison, tmp_path / "off", trials=trials)
    assert (tmp_path / "off/runs/random-50-seed1/trials").is_dir()
