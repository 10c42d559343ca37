import itertools
import math
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.fabric import Fabric
from torch import nn
from torch.optim import LBFGS, SGD
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from aepretrain import (
    L0,
    AdversarialAutoencoder,
    Bernoulli,
    Classifier,
    ConfigError,
    ContractiveAutoencoder,
    Conv,
    DenoisingAutoencoder,
    Dense,
    DivergedError,
    KLSparsity,
    PlainAutoencoder,
    Regressor,
    RestrictedBoltzmannMachine,
    SparseAutoencoder,
    TrainerOptions,
    VariationalAutoencoder,
)
from aepretrain.data import Batches
from aepretrain.heads import Head
from aepretrain.parts.corruptions import Dropout
from aepretrain.training import stage
from aepretrain.training.chunks import MAX_STEPS, ChunkLength, chunks
from aepretrain.training.context import RunContext
from aepretrain.training.options import StageSettings
from aepretrain.training.state import TrainingState
from tests.support.watching import batches_of, before_chunks, before_updates

X = torch.rand(90, 6, generator=torch.Generator().manual_seed(1))
MODULES = {
    "denoising": lambda **kwargs: DenoisingAutoencoder((6,), Dense(4), **kwargs),
    "variational": lambda **kwargs: VariationalAutoencoder((6,), Dense(4), **kwargs),
    "adversarial": lambda **kwargs: AdversarialAutoencoder((6,), Dense(4), discriminator_lr=1e-4, **kwargs),
    "importance": lambda **kwargs: VariationalAutoencoder(
        (6,), Dense(4), samples=2, warm_up_steps=9, binarize=True, likelihood=Bernoulli(), **kwargs
    ),
    "contractive": lambda **kwargs: ContractiveAutoencoder((6,), Dense(4), **kwargs),
    "projected": lambda **kwargs: ContractiveAutoencoder((6,), Dense(4, hidden=[5]), projections=1, **kwargs),
    "convolutions": lambda **kwargs: DenoisingAutoencoder((6,), Conv(3, hidden=(2,), tied=True), **kwargs),
    "jump": lambda **kwargs: SparseAutoencoder(
        (6,), Dense(8, "relu", threshold=0.05, bandwidth=0.1, unit_norm=True), lam=0.1, penalty=L0(), **kwargs
    ),
    "sparse": lambda **kwargs: SparseAutoencoder((6,), Dense(4), penalty=KLSparsity(), **kwargs),
    "boltzmann": lambda **kwargs: RestrictedBoltzmannMachine((6,), Dense(4), cd_steps=2, **kwargs),
    "persistent": lambda **kwargs: RestrictedBoltzmannMachine((6,), Dense(4), persistent=5, lam=0.1, **kwargs),
    "classifier": lambda **kwargs: Classifier(
        nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), 2, dropout=0.3, max_norm=0.5, **kwargs
    ),
    "regressor": lambda **kwargs: Regressor(
        nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), dropout=0.3, max_norm=0.5, **kwargs
    ),
}
TARGETS = {"classifier": torch.arange(90) % 2, "regressor": 50 + 9 * X.sum(dim=1)}


def train(module, *, epochs=3, batch_size=16, every=1, on_nan="stop", **options):
    tensors = [X]
    if isinstance(module, Head):
        tensors.append(TARGETS[module.stage])
        module.fit_targets(tensors[1])
    context = RunContext(progress=False, trainer=TrainerOptions(**options), on_nan=on_nan)
    settings = StageSettings("00-test", epochs, batch_size, validate_every=every)
    return stage.train_stage(module, tensors, tensors, settings, context)


def make(name="denoising", **kwargs):
    torch.manual_seed(0)
    return MODULES[name](**kwargs)


def scale_losses(monkeypatch, **settings):
    """Scale losses on the CPU as on a GPU in half precision; the scalers appear in the list."""
    start, scalers = TrainingState.__init__, []

    def scaled(state, module, optimizer, scheduler, scaler, log, best):
        scalers.append(torch.amp.GradScaler("cpu", **settings))
        start(state, module, optimizer, scheduler, scalers[-1], log, best)

    monkeypatch.setattr(TrainingState, "__init__", scaled)
    backward = Fabric.backward
    monkeypatch.setattr(Fabric, "backward", lambda fabric, loss: backward(fabric, scalers[-1].scale(loss)))
    return scalers


def same_bits(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", MODULES)
def test_one_step_or_many_per_chunk_give_the_same_bits(name, precision):
    modules, records = [], []
    for steps in (1, 4, 64, None):
        modules.append(make(name, scheduler=lambda optimizer: StepLR(optimizer, 1, 0.5)))
        records.append(train(modules[-1], chunk_steps=steps, precision=precision))
    for module, record in zip(modules[1:], records[1:], strict=True):
        assert same_bits(modules[0], module)
        for one, other in zip(records[0].history, record.history, strict=True):
            assert {**one, "epoch_seconds": 0} == {**other, "epoch_seconds": 0}
        assert record.steps == records[0].steps == 18


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_loop_is_the_one_written_by_hand(precision, monkeypatch):
    trained, by_hand = make("classifier"), make("classifier")
    for module in (trained, by_hand):
        module.dropout, module.max_norm = Dropout(0.0), None
        module.optimizer = lambda parameters: SGD(parameters, lr=0.5, momentum=0.9)
    seen = batches_of(monkeypatch)
    train(trained, chunk_steps=7, precision=precision)
    optimizer = SGD(by_hand.parameters(), lr=0.5, momentum=0.9)
    for x, y in seen:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = by_hand.loss(x, y).mean()
        loss.backward()
        optimizer.step()
    tolerance = 1e-6 if precision == "32-true" else 1e-3
    torch.testing.assert_close(trained.state_dict(), by_hand.state_dict(), rtol=tolerance, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 60), batch_size=st.integers(1, 20), steps=st.integers(1, 30),
    stop=st.none() | st.integers(1, 9), epoch=st.integers(0, 3), start=st.integers(0, 5), block=st.integers(1, 5),
)  # fmt: skip
def test_chunks_are_the_batches_in_order_and_end_where_they_should(count, batch_size, steps, stop, epoch, start, block):
    batches = Batches([torch.arange(count)], batch_size, seed=3)
    per_epoch = len(batches)
    start = min(start, per_epoch - 1)
    found = list(chunks(batches, epoch, start, ChunkLength(steps), stop, block))
    seen = [(position, x.tolist()) for position, (x,) in chain(*found)]
    assert seen == list(enumerate(x.tolist() for (x,) in batches))[start:]
    assert [len(x) for _, x in seen] == list(chain(*(chunk.sizes for chunk in found)))
    ends = [epoch * per_epoch + chunk.start + len(chunk) for chunk in found]
    assert all(1 <= len(chunk) < steps + block for chunk in found)
    positions = [end - epoch * per_epoch for end in ends]
    assert all(position % block == 0 for position in positions[:-1])
    due = [step for step in range(epoch * per_epoch + start + 1, ends[-1]) if stop and step % stop == 0]
    assert all(min(end for end in ends if end >= step) < step + block for step in due)


def test_the_length_of_a_chunk_follows_the_time_of_a_step():
    length = ChunkLength()
    for _ in range(30):
        length.adapt(length.steps, 0.001 * length.steps)
    assert 0.05 <= 0.001 * length.steps <= 0.2
    for _ in range(30):
        length.adapt(length.steps, 1.0 * length.steps)
    assert length.steps == 1
    for _ in range(30):
        length.adapt(length.steps, 0.0)
    assert length.steps == MAX_STEPS
    length.adapt(10, 100.0)  # cut short by the end of the epoch
    assert length.steps == MAX_STEPS
    fixed = ChunkLength(5)
    fixed.adapt(5, 100.0)
    assert fixed.steps == 5
    short = ChunkLength()
    short.adapt(8, 0.001)  # longer, to end with a block
    assert short.steps == 2


def test_gradients_are_clipped_at_every_step(monkeypatch):
    norms = []
    before_updates(monkeypatch, lambda optimizer: norms.append(norm_of_gradients(optimizer)))
    steps = train(make(), chunk_steps=4, epochs=2, gradient_clip_val=0.01, steps="launched").steps
    assert steps == len(norms) == 12
    assert max(norms) <= 0.0100001


def norm_of_gradients(optimizer):
    gradients = [weights.grad for group in optimizer.param_groups for weights in group["params"]]
    return nn.utils.get_total_norm(gradients).item()


def test_accumulation_gives_the_step_of_the_whole_batch_in_less_memory():
    whole, sizes = make("classifier", optimizer=lambda p: SGD(p, lr=0.5)), []
    parts = make("classifier", optimizer=lambda p: SGD(p, lr=0.5))
    whole.dropout = parts.dropout = Dropout(0.0)
    parts.encoder[0].register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    records = [train(whole, batch_size=40), train(parts, batch_size=40, accumulate=3)]
    torch.testing.assert_close(whole.state_dict(), parts.state_dict())
    assert records[0].history[-1]["train/loss"] == pytest.approx(records[1].history[-1]["train/loss"], rel=1e-5)
    assert set(sizes) == {14, 13, 4, 3, 90}  # batches of 40 and 10 in three parts, and validation


def test_the_place_in_training_is_known_before_every_chunk(monkeypatch):
    seen, scheduled = [], lambda optimizer: StepLR(optimizer, 1, 0.5)
    before_chunks(monkeypatch, lambda state: seen.append((state.epoch, state.position, state.step)))
    record = train(make(scheduler=scheduled), chunk_steps=4, epochs=2)
    assert seen == [(0, 0, 0), (0, 4, 4), (1, 0, 6), (1, 4, 10)]
    assert (record.steps, record.epochs) == (12, 2)
    assert all(0 < row["epoch_seconds"] < record.seconds for row in record.history)


class Failing(PlainAutoencoder):
    """A loss that is not finite, or whose gradient is not, in its second step of six."""

    def __init__(self, fails=None):
        super().__init__((6,), Dense(4), optimizer=lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1))
        self.fails, self.steps, self.weights = fails, 0, []

    def energy(self, x):
        loss = super().energy(x)
        if self.training:
            self.weights.append(self.f.affine.weight.detach().clone())
            self.steps += 1
            if self.steps == 2 and self.fails is not None:
                weight = self.f.affine.weight
                endless = (
                    weight.sum() * math.inf if self.fails == "loss" else (weight - weight.detach()).abs().sqrt().sum()
                )
                return loss + endless
        return loss


@pytest.mark.parametrize("fails", ["loss", "gradient"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_an_update_that_is_not_finite_is_skipped_counted_and_left_out_of_the_mean(fails, clip):
    torch.manual_seed(0)
    module = Failing(fails)
    record = train(module, epochs=1, on_nan="skip", chunk_steps=4, gradient_clip_val=clip)
    assert record.skipped_steps == 1
    changed = [not torch.equal(*pair) for pair in itertools.pairwise(module.weights)]
    assert changed == [True, False, True, True, True]
    assert math.isfinite(record.history[0]["train/loss"])
    whole = train(Failing(), epochs=1, on_nan="skip", gradient_clip_val=clip)
    assert whole.skipped_steps == 0


@pytest.mark.parametrize("fails", ["loss", "gradient"])
def test_training_stops_where_a_loss_or_a_weight_is_not_finite(fails):
    torch.manual_seed(0)
    with pytest.raises(DivergedError, match=r"00-test: (the loss of epoch 0, step [12], is|step 6 left weights)"):
        train(Failing(fails), epochs=1, chunk_steps=64)


def test_schedulers_step_once_an_epoch_and_a_plateau_only_where_there_was_a_figure(monkeypatch):
    rates = {}
    before_chunks(monkeypatch, lambda state: rates.setdefault(state.epoch, state.optimizer.param_groups[0]["lr"]))
    sgd = lambda parameters: SGD(parameters, lr=1.0)  # noqa: E731
    train(make(optimizer=sgd, scheduler=lambda o: StepLR(o, 2, 0.1)), epochs=4)
    assert list(rates.values()) == pytest.approx([1, 1, 0.1, 0.1])
    rates.clear()
    plateau = lambda o: ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=1e9)  # noqa: E731
    train(make(optimizer=sgd, scheduler=plateau), epochs=6, every=2)
    assert list(rates.values()) == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


@pytest.mark.parametrize("steps", [1, 4])
def test_one_cycle_steps_after_every_update(steps, monkeypatch):
    rates, by_hand = [], []
    one_cycle = lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=18)  # noqa: E731
    before_updates(monkeypatch, lambda optimizer: rates.append(optimizer.param_groups[0]["lr"]))
    module = make(optimizer=lambda p: SGD(p, lr=1.0, momentum=0.9), scheduler=one_cycle)
    train(module, chunk_steps=steps, steps="launched")
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = one_cycle(optimizer)
    for _ in range(18):
        by_hand.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(by_hand) < 18:
            scheduler.step()
    assert rates == pytest.approx(by_hand)


def test_optimizers_that_ask_for_the_loss_again_get_it_with_the_same_noise():
    module = make(optimizer=lambda parameters: LBFGS(parameters, lr=0.1, max_iter=4))
    record = train(module, epochs=4)
    assert record.history[-1]["train/loss"] < record.history[0]["train/loss"]


@pytest.mark.parametrize("most", [0.05, 1e6])
def test_the_loss_scale_of_half_precision_changes_nothing_but_the_scale(most, monkeypatch):
    """Gradients are clipped after they were unscaled: plain SGD shows their length, which Adam hides."""
    modules = [make(optimizer=lambda p: SGD(p, lr=0.5)) for _ in range(2)]
    train(modules[0], chunk_steps=5, gradient_clip_val=most)
    scalers = scale_losses(monkeypatch, init_scale=8.0)
    train(modules[1], chunk_steps=5, gradient_clip_val=most)
    torch.testing.assert_close(modules[0].state_dict(), modules[1].state_dict())
    assert scalers[0].get_scale() == 8.0


@pytest.mark.parametrize(
    "setting", [{"gradient_clip_val": 0}, {"gradient_clip_val": math.inf}, {"accumulate": 0}, {"chunk_steps": 0}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=f"trainer.{next(iter(setting))} must be"):
        TrainerOptions(**setting)


def test_the_module_is_left_as_it_was():
    module = make()
    before = set(vars(module))
    train(module)
    assert set(vars(module)) == before
    assert module.noise.generator is None
