"""Many seeds at once: what as many separate runs find, from weights to the table of a comparison."""

import copy
import csv
import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

from aepretrain import (
    ConfigError,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    Dense,
    Digits,
    DivergedError,
    Experiment,
    FineTuning,
    GreedyStack,
    PlainAutoencoder,
    Pretraining,
    SwapNoise,
)
from aepretrain.compare import Comparison, Workers, compare
from aepretrain.data.batches import Batches
from aepretrain.ensembles.stages import pretrain_stacks
from aepretrain.ensembles.train import SeedBatches, reason_impossible, reason_not_faster, train_ensemble
from aepretrain.parts.noise import derive_seed
from aepretrain.training.context import RunContext
from aepretrain.training.options import StageSettings, TrainerOptions
from aepretrain.training.stage import train_stage
from tests.support.compiling import uncompiled
from tests.support.variants import CODERS, VARIANTS, make

SEEDS = (0, 1, 7)
STAGE = StageSettings("00-x", epochs=3, batch_size=16)


def contexts(**changes):
    return [RunContext(seed=seed, progress=False, **changes) for seed in SEEDS]


def layers_of(build):
    layers = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        layers.append(build())
    return layers


def figures(record):
    return [{name: value for name, value in epoch.items() if name != "epoch_seconds"} for epoch in record.history]


def assert_ends_alike(module, record, twin, expected):
    """A module of many seeds at once and its record are those of a separate run."""
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    assert not module.training
    for epoch, twin_epoch in zip(figures(record), figures(expected), strict=True):
        assert epoch == pytest.approx(twin_epoch, rel=1e-4, abs=1e-6)
    for name in ("stage", "epochs", "kept_epoch", "steps", "device", "processes", "skipped_steps"):
        assert getattr(record, name) == getattr(expected, name)


def assert_alike(build, **changes):
    """Three seeds at once and in turn, each on inputs of its own, with a last batch that is short."""
    together, alone = layers_of(build), layers_of(build)
    x = [torch.rand(50, *together[0].in_shape) for _ in SEEDS]
    held_out = torch.rand(30, *together[0].in_shape)
    records = train_ensemble(together, [[own] for own in x], [[held_out]] * 3, STAGE, contexts(**changes))
    for layer, twin, own, context, record in zip(together, alone, x, contexts(**changes), records, strict=True):
        before = copy.deepcopy(twin.encoder)
        expected = train_stage(twin, [own], [held_out], STAGE, context)
        assert_ends_alike(layer, record, twin, expected)
        assert [list(epoch) for epoch in figures(record)] == [list(epoch) for epoch in figures(expected)]
        assert not torch.allclose(layer.encoder[-2].weight, before[-2].weight)


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01)], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "variational-free"])
def test_every_variant_ends_where_separate_runs_end(name, optimizer):
    assert_alike(lambda: make(name, optimizer=optimizer))


@pytest.mark.parametrize("coder", ["tied", "deep"])
@pytest.mark.parametrize("name", ["denoising-masking", "dropout", "variational"])
def test_tied_and_deep_coders_end_where_separate_runs_end(name, coder):
    assert_alike(lambda: make(name, coder=CODERS[coder]))


def test_a_tied_contraction_images_and_a_schedule_end_where_separate_runs_end():
    assert_alike(lambda: make("contractive", coder=CODERS["tied"]))
    scheduler = partial(ExponentialLR, gamma=0.5)
    assert_alike(lambda: PlainAutoencoder((1, 3, 4), Dense(5, tied=True), scheduler=scheduler))


def test_patience_keeps_the_best_epoch_of_each_seed():
    optimizer = partial(SGD, lr=1.0)
    build = lambda: make("denoising-gaussian", optimizer=optimizer)  # noqa: E731
    settings = replace(STAGE, epochs=40, patience=2)
    x, held_out = [torch.rand(50, 6) for _ in SEEDS], torch.rand(30, 6)
    layers, alone = layers_of(build), layers_of(build)
    records = train_ensemble(layers, [[own] for own in x], [[held_out]] * 3, settings, contexts())
    assert len({record.epochs for record in records}) > 1
    for layer, twin, own, context, record in zip(layers, alone, x, contexts(), records, strict=True):
        expected = train_stage(twin, [own], [held_out], replace(settings, keep_best=True), context)
        assert_ends_alike(layer, record, twin, expected)


def test_the_length_of_a_chunk_changes_no_bit():
    weights = []
    for steps in (1, 64):
        layers = layers_of(lambda: make("denoising-masking"))
        x = torch.rand(50, 6, generator=torch.Generator().manual_seed(0))
        trainer = TrainerOptions(accelerator="cpu", chunk_steps=steps)
        train_ensemble(layers, [[x]] * 3, [[x]] * 3, STAGE, contexts(trainer=trainer))
        weights.append([tensor for layer in layers for tensor in layer.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


@pytest.mark.parametrize("name", ["denoising-masking", "denoising-swap", "variational"])
def test_the_steps_of_many_seeds_are_compiled_together(name, monkeypatch):
    functions, x, ends = uncompiled(monkeypatch), torch.rand(50, 6), []
    for steps in ("launched", "compiled"):
        layers = layers_of(lambda: make(name))
        train_ensemble(layers, [[x]] * 3, [[x]] * 3, STAGE, contexts(trainer=TrainerOptions(steps=steps)))
        ends.append([layer.state_dict() for layer in layers])
    assert len(functions) == 1
    torch.testing.assert_close(*ends, rtol=1e-4, atol=2e-6)


class OtherCoder(Dense):
    """A coder of somebody else's."""


@pytest.mark.parametrize("shared", [True, False])
def test_batches_are_those_of_each_seed_in_its_own_order(shared):
    one = torch.arange(50)
    x = [one] * 3 if shared else [one + 100 * place for place in range(3)]
    batches = SeedBatches([[own] for own in x], 16, seeds=[derive_seed(seed, "00-x") for seed in SEEDS], shuffle=True)
    assert len(batches.tensors[0]) == (50 if shared else 150)
    for epoch in (0, 3):
        batches.sampler.set_epoch(epoch)
        alone = [Batches([own], 16, seed=derive_seed(seed, "00-x")) for own, seed in zip(x, SEEDS, strict=True)]
        for each in alone:
            each.sampler.set_epoch(epoch)
        for (found,), *expected in zip(batches, *alone, strict=True):
            assert torch.equal(found, torch.cat([rows for (rows,) in expected]))


def test_noise_is_keyed_for_each_seed_as_if_it_were_alone(monkeypatch):
    keyed = []
    draw = DenoisingAutoencoder.energy

    def remember(self, x):
        if torch.is_grad_enabled():
            keyed.append([generator.initial_seed() for generator in self.noise.generators])
        return draw(self, x)

    monkeypatch.setattr(DenoisingAutoencoder, "energy", remember)
    x = torch.rand(50, 6)
    train_ensemble(
        layers_of(lambda: make("denoising-gaussian")),
        [[x]] * 3,
        [[x]] * 3,
        STAGE,
        contexts(trainer=TrainerOptions(steps="launched")),
    )
    places = [(epoch, step) for epoch in range(3) for step in range(4)]
    assert keyed == [[derive_seed(seed, "00-x", *place, 0) for seed in SEEDS] for place in places]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: PlainAutoencoder((6,), OtherCoder(4)), "the coder OtherCoder is not known"),
        (lambda: make("plain", optimizer=LBFGS), "the optimizer LBFGS does not treat every weight by itself"),
        (lambda: make("contractive", coder=CODERS["deep"]), "several dense layers has no closed form"),
        (lambda: make("plain", scheduler=ReduceLROnPlateau), "ReduceLROnPlateau goes by the figures of one seed"),
        (lambda: make("boltzmann"), "draws bits with computed probabilities, so rounding would change its chains"),
    ],
)
def test_layers_that_have_to_be_trained_one_seed_after_another(build, reason):
    assert reason in reason_impossible(build(), RunContext())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trainer": TrainerOptions(gradient_clip_val=1.0)}, "trainer.gradient_clip_val"),
        ({"trainer": TrainerOptions(accumulate=2)}, "trainer.accumulate"),
        ({"trainer": TrainerOptions(precision="bf16-mixed")}, "trainer.precision is bf16-mixed"),
        ({"trainer": TrainerOptions(devices=2)}, "several processes"),
        ({"on_nan": "skip"}, "on_nan skip"),
        ({"trainer": TrainerOptions(engine="lightning")}, "trainer.engine is lightning"),
    ],
)
def test_settings_that_keep_seeds_apart(changes, reason):
    assert reason in reason_impossible(make("plain"), RunContext(**changes))
    assert reason_impossible(make("plain"), RunContext()) is None


def test_auto_leaves_large_layers_and_large_data_alone():
    small, cpu = make("plain"), TrainerOptions(accelerator="cpu")
    assert reason_not_faster(small, [torch.zeros(4, 6)] * 3, cpu) is None
    large = PlainAutoencoder((784,), Dense(1000))
    assert "matrices of 784000 weights" in reason_not_faster(large, [torch.zeros(4, 784)] * 3, cpu)
    different = [torch.empty(2**26, device="meta") for _ in range(8)]
    assert "take 2.0 GiB" in reason_not_faster(small, different, cpu)
    assert reason_not_faster(small, different[:1] * 8, cpu) is None


def test_a_seed_that_diverges_stops_all_and_is_found():
    bad = layers_of(lambda: make("plain", optimizer=partial(SGD, lr=1e30)))
    with pytest.raises(DivergedError, match="00-x: the loss of epoch"):
        train_ensemble(bad, [[torch.rand(50, 6)]] * 3, [[torch.rand(30, 6)]] * 3, STAGE, contexts())


def test_a_stack_mixes_layers_at_once_and_in_turn_and_says_why(capsys):
    make_layers = [
        lambda s: DenoisingAutoencoder(s, Dense(12), corruption=SwapNoise()),
        lambda s: ContractiveAutoencoder(s, Dense(6, hidden=(8,)), projections=1),
        lambda s: PlainAutoencoder(s, Dense(4)),
    ]
    together, alone = ([GreedyStack((1, 8, 8), make_layers, seed=seed) for seed in SEEDS] for _ in range(2))
    lengths, data = Pretraining(epochs=1, batch_size=64), Digits()
    pretrain_stacks(together, data, lengths, contexts(), vectorize="auto")
    assert capsys.readouterr().out.count("3 seeds one after another: the contraction of several dense layers") == 1
    for stack, twin, context in zip(together, alone, contexts(), strict=True):
        twin.fit(data, lengths, context)
        for name, tensor in twin.encoder.state_dict().items():
            torch.testing.assert_close(stack.encoder.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
        assert stack.identity_scores == pytest.approx(twin.identity_scores, abs=1e-3)
    with pytest.raises(ConfigError, match=r"01-contractive: the seeds cannot be trained at once: the contraction"):
        pretrain_stacks(together, data, lengths, contexts(), vectorize="on")


def experiment(**changes):
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(16))  # noqa: E731
    settings = {"report": False, "pretrain": Pretraining(epochs=2), "finetune": FineTuning(3, 16), **changes}
    return Experiment([layer], Digits(labels=50), **settings)


TWO = Comparison(seeds=3, labels=[50], arms=["pretrained", "random-longer"], baselines=[])


def table(folder):
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def rows_of_metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["name"] != "epoch_seconds"]


def test_a_comparison_finds_and_leaves_the_same_at_once_and_in_turn(tmp_path, capsys):
    for vectorize in ("on", "off"):
        compare(experiment(), TWO, tmp_path / vectorize, vectorize=vectorize)
        assert ("pretraining seeds 0, 1, 2 finished" in capsys.readouterr().out) == (vectorize == "on")
    for row, twin in zip(table(tmp_path / "on"), table(tmp_path / "off"), strict=True):
        assert [row[name] for name in ("arm", "seed", "labels", "epochs", "steps", "hyperparameters")] == [
            twin[name] for name in ("arm", "seed", "labels", "epochs", "steps", "hyperparameters")
        ]
        for name in ("validation_accuracy", "test_accuracy"):
            assert float(row[name]) == pytest.approx(float(twin[name]), abs=0.01)
    for seed in range(3):
        one, other = (tmp_path / name / "runs" / f"pretraining-seed{seed}" for name in ("on", "off"))
        assert {path.relative_to(one) for path in one.rglob("*")} == {
            path.relative_to(other) for path in other.rglob("*")
        }
        for row, twin in zip(rows_of_metrics(one), rows_of_metrics(other), strict=True):
            assert row["value"] == pytest.approx(twin["value"], rel=1e-4, abs=1e-6)
            assert {**row, "value": 0} == {**twin, "value": 0}
        states = [json.loads((folder / "state.json").read_text())["stages"] for folder in (one, other)]
        assert [stage["status"] for state in states for stage in state.values()] == ["finished"] * 2


@pytest.mark.parametrize(
    ("comparison", "workers", "message"),
    [
        (TWO, Workers(2), "several workers share the seeds. Use one worker"),
        (replace(TWO, longer_by="seconds"), Workers(), "needs the time of each seed by itself. Use steps"),
    ],
)
def test_comparisons_that_cannot_pretrain_at_once_say_so(tmp_path, comparison, workers, message):
    with pytest.raises(ConfigError, match=f"--vectorize on: .*{message}"):
        compare(experiment(), comparison, tmp_path, workers=workers, vectorize="on")
