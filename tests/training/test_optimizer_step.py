"""One step of the loop: its gradients, in parts and in shares; and what the loop tells others on the way."""

import time

import pytest
import torch
from torch.amp import GradScaler
from torch.optim import SGD

from aepretrain import Dense, PlainAutoencoder, TrainerOptions
from aepretrain.training import loop
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.chunks import ChunkLength
from aepretrain.training.context import RunContext
from aepretrain.training.devices import build_fabric
from aepretrain.training.epoch_log import EpochLog
from aepretrain.training.loop import OptimizerStep
from aepretrain.training.noise import KeyedNoise
from aepretrain.training.options import StageSettings
from aepretrain.training.progress import StageProgress
from aepretrain.training.stage import train_stage
from aepretrain.training.state import TrainingState

X = torch.rand(7, 6, generator=torch.Generator().manual_seed(1))


class Seeds(PlainAutoencoder):
    """A module whose loss is that of two seeds: the second has twice the loss of the first."""

    def mean(self, values):
        return super().mean(values) * torch.tensor([1.0, 2.0])


def step_of(module, *, scaler=None, accumulate=1, **options):
    trainer = TrainerOptions(accelerator="cpu", accumulate=accumulate, **options)
    fabric = build_fabric(**trainer.for_fabric())
    optimizer = SGD(module.parameters(), lr=0.5)
    log, best = EpochLog("00-x", [], fabric), BestWeights("val/loss", "min")
    state = TrainingState(module, optimizer, None, scaler, log, best)
    return OptimizerStep(state, KeyedNoise(0, "00-x", torch.device("cpu"), 0), fabric, trainer)


def gradients_of(module):
    return {name: weight.grad.clone() for name, weight in module.named_parameters()}


@pytest.mark.parametrize(("kind", "factor"), [(PlainAutoencoder, 1.0), (Seeds, 3.0)])
@pytest.mark.parametrize("weight", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 9])
def test_gradients_are_those_of_the_mean_loss_times_the_weight_of_the_share(accumulate, weight, kind, factor):
    module = kind((6,), Dense(4))
    expected = module.energy(X).mean()
    expected.backward()
    by_hand = gradients_of(module)
    module.zero_grad()
    found = step_of(module, accumulate=accumulate).gradients([X], 0, 0, weight)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected.detach() * (torch.tensor([1.0, 2.0]) if kind is Seeds else 1.0))
    for name, gradient in gradients_of(module).items():
        torch.testing.assert_close(gradient, weight * factor * by_hand[name])


def test_the_gradients_of_the_step_before_are_gone():
    module = PlainAutoencoder((6,), Dense(4))
    step = step_of(module)
    step.gradients([X], 0, 0, 1.0)
    first = gradients_of(module)
    step.gradients([X], 0, 1, 1.0)
    torch.testing.assert_close(gradients_of(module), first, rtol=0, atol=0)


def test_the_scale_of_half_precision_grows_after_steps_that_are_finite():
    scaler = GradScaler("cpu", init_scale=8.0, growth_interval=2)
    step = step_of(PlainAutoencoder((6,), Dense(4)), scaler=scaler)
    scaler.scale(torch.ones(()))
    scales = []
    for position in range(4):
        assert torch.isfinite(step([X], 0, position, 1.0))
        scales.append(scaler.get_scale())
    assert scales == [8.0, 16.0, 16.0, 32.0]


def note(monkeypatch, said, kind, name, words):
    """Note in ``said`` what a method of a class is told from now on."""
    method = getattr(kind, name)

    def watched(self, *given):
        said.append((kind.__name__, *words(*given)))
        return method(self, *given)

    monkeypatch.setattr(kind, name, watched)


def test_log_progress_and_chunk_length_are_told_of_every_chunk_and_every_epoch(monkeypatch):
    said = []
    note(monkeypatch, said, ChunkLength, "learn", lambda steps, start, fabric: [steps])
    note(monkeypatch, said, StageProgress, "advance", lambda step: [step])
    note(monkeypatch, said, StageProgress, "close_epoch", lambda epoch, row: [epoch, "val/loss" in row])
    note(monkeypatch, said, EpochLog, "close_epoch", lambda epoch, step, found: [epoch, step, "val/loss" in found])
    for name in ("keep_freed_memory", "disable_nvml_check"):
        monkeypatch.setattr(loop, name, lambda name=name: said.append(name))
    context = RunContext(progress=False, trainer=TrainerOptions(accelerator="cpu", chunk_steps=2))
    start = time.perf_counter()
    record = train_stage(
        PlainAutoencoder((6,), Dense(4)), [X], [X], StageSettings("00-x", 2, 3, validate_every=2), context
    )
    took = time.perf_counter() - start
    assert said == [
        "keep_freed_memory", "disable_nvml_check",
        ("ChunkLength", 2), ("StageProgress", 2), ("ChunkLength", 1), ("StageProgress", 3),
        ("EpochLog", 0, 2, False), ("StageProgress", 0, False),
        ("ChunkLength", 2), ("StageProgress", 5), ("ChunkLength", 1), ("StageProgress", 6),
        ("EpochLog", 1, 5, True), ("StageProgress", 1, True),
    ]  # fmt: skip
    assert 0 < sum(row["epoch_seconds"] for row in record.history) < took


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_only_epochs_of_the_interval_are_validated(every):
    settings = StageSettings("00-x", 7, 7, validate_every=every)
    record = train_stage(PlainAutoencoder((6,), Dense(4)), [X], [X], settings, RunContext(progress=False))
    validated = [epoch for epoch, row in enumerate(record.history) if "val/loss" in row]
    assert validated == [epoch for epoch in range(7) if (epoch + 1) % every == 0]
    assert record.steps == 7
