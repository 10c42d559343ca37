import math
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback
from torch import nn
from torch.optim import LBFGS, SGD, Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from aepretrain import (
    Classifier,
    ConfigError,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    Dense,
    KLSparsity,
    RunContext,
    SparseAutoencoder,
    TrainerOptions,
    VariationalAutoencoder,
)
from aepretrain.data import Batches
from aepretrain.parts.corruptions import Dropout
from aepretrain.training import engine
from aepretrain.training.dispatches import MOST_STEPS, Dispatches, Pace
from aepretrain.training.stage import train_stage

X = torch.rand(90, 6, generator=torch.Generator().manual_seed(1))
MODULES = {
    "denoising": lambda **kwargs: DenoisingAutoencoder((6,), Dense(4), **kwargs),
    "variational": lambda **kwargs: VariationalAutoencoder((6,), Dense(4), **kwargs),
    "contractive": lambda **kwargs: ContractiveAutoencoder((6,), Dense(4), **kwargs),
    "projected": lambda **kwargs: ContractiveAutoencoder((6,), Dense(4, hidden=[5]), projections=1, **kwargs),
    "sparse": lambda **kwargs: SparseAutoencoder((6,), Dense(4), penalty=KLSparsity(), **kwargs),
    "classifier": lambda **kwargs: Classifier(
        nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), 2, dropout=0.3, max_norm=0.5, **kwargs
    ),
}


def train(module, *, epochs=3, callbacks=(), batch_size=16, every=1, on_nan="stop", **options):
    tensors = [X, torch.arange(90) % 2] if isinstance(module, Classifier) else [X]
    context = RunContext(progress=False, trainer=TrainerOptions(**options), callbacks=callbacks, on_nan=on_nan)
    return train_stage(
        module, tensors, tensors, context,
        stage="00-test", epochs=epochs, batch_size=batch_size, monitor="val/loss", validate_every=every,
    )  # fmt: skip


def make(name="denoising", **kwargs):
    torch.manual_seed(0)
    return MODULES[name](**kwargs)


def scale_losses(monkeypatch, **settings):
    """Scale losses on the CPU as on a GPU in half precision; the steps that do appear in the list."""
    start, steps = engine._Step.__init__, []

    def scaled(step, engine, trainer, *args):
        trainer.precision_plugin.scaler = torch.amp.GradScaler("cpu", **settings)
        start(step, engine, trainer, *args)
        steps.append(step)

    monkeypatch.setattr(engine._Step, "__init__", scaled)
    return steps


def same_bits(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", MODULES)
def test_one_step_or_many_per_dispatch_give_the_same_bits(name, precision):
    modules, records = [], []
    for dispatch in (1, 4, 64, None):
        modules.append(make(name, scheduler=lambda optimizer: StepLR(optimizer, 1, 0.5)))
        records.append(train(modules[-1], dispatch=dispatch, precision=precision))
    for module, record in zip(modules[1:], records[1:], strict=True):
        assert same_bits(modules[0], module)
        for one, other in zip(records[0].history, record.history, strict=True):
            assert {**one, "epoch_seconds": 0} == {**other, "epoch_seconds": 0}
        assert record.steps == records[0].steps == 18


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_engine_is_the_loop_written_by_hand(precision):
    trained, by_hand = make("classifier"), make("classifier")
    for module in (trained, by_hand):
        module.dropout, module.max_norm = Dropout(0.0), None
        module.optimizer = lambda parameters: SGD(parameters, lr=0.5, momentum=0.9)
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.extend(batch)

    train(trained, dispatch=7, precision=precision, callbacks=[Watch()])
    optimizer = SGD(by_hand.parameters(), lr=0.5, momentum=0.9)
    for x, y in seen:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = by_hand.loss(x, y)
        loss.backward()
        optimizer.step()
    tolerance = 1e-6 if precision == "32-true" else 1e-3
    torch.testing.assert_close(trained.state_dict(), by_hand.state_dict(), rtol=tolerance, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 60), batch_size=st.integers(1, 20), steps=st.integers(1, 30),
    stop=st.none() | st.integers(1, 9), epoch=st.integers(0, 3), start=st.integers(0, 5),
)  # fmt: skip
def test_dispatches_are_the_batches_in_order_and_end_where_they_should(count, batch_size, steps, stop, epoch, start):
    batches = Batches([torch.arange(count)], batch_size, seed=3)
    dispatches = Dispatches(batches, Pace(steps), stop)
    start = min(start, dispatches.steps - 1)
    dispatches.go_on(epoch, start)
    found = list(dispatches)
    seen = [x.tolist() for (x,) in chain(*found)]
    assert seen == [x.tolist() for (x,) in batches][start:]
    assert [len(x) for x in seen] == list(chain(*(dispatch.sizes for dispatch in found)))
    ends = [epoch * dispatches.steps + dispatch.start + len(dispatch) for dispatch in found]
    assert all(1 <= len(dispatch) <= steps for dispatch in found)
    if stop:
        assert {step for step in range(epoch * dispatches.steps + start + 1, ends[-1]) if step % stop == 0} <= set(ends)
    assert [x.tolist() for (x,) in chain(*dispatches)] == [x.tolist() for (x,) in batches]


def test_the_pace_follows_the_time_of_a_step():
    pace = Pace()
    for _ in range(30):
        pace.took(pace.steps, 0.001 * pace.steps)
    assert 0.05 <= 0.001 * pace.steps <= 0.2
    for _ in range(30):
        pace.took(pace.steps, 1.0 * pace.steps)
    assert pace.steps == 1
    for _ in range(30):
        pace.took(pace.steps, 0.0)
    assert pace.steps == MOST_STEPS
    fixed = Pace(5)
    fixed.took(5, 100.0)
    assert fixed.steps == 5


def test_global_step_counts_optimizer_steps_and_callbacks_may_watch_every_update():
    seen, norms = [], []

    class Watch(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            seen.append(trainer.global_step)
            norms.append(nn.utils.get_total_norm([p.grad for p in pl_module.parameters()]).item())

    train(make(), dispatch=4, epochs=2, callbacks=[Watch()], gradient_clip_val=0.01)
    assert seen == list(range(12))
    assert max(norms) <= 0.0100001


def test_accumulation_gives_the_step_of_the_whole_batch_in_less_memory():
    whole, sizes = make("classifier", optimizer=lambda p: SGD(p, lr=0.5)), []
    parts = make("classifier", optimizer=lambda p: SGD(p, lr=0.5))
    whole.dropout = parts.dropout = Dropout(0.0)
    parts.encoder[0].register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    records = [train(whole, batch_size=40), train(parts, batch_size=40, accumulate=3)]
    torch.testing.assert_close(whole.state_dict(), parts.state_dict())
    assert records[0].history[-1]["train/loss"] == pytest.approx(records[1].history[-1]["train/loss"], rel=1e-5)
    assert set(sizes) == {14, 13, 4, 3, 90}  # batches of 40 and 10 in three parts, and validation


def test_schedulers_step_once_an_epoch_and_a_plateau_only_where_there_was_a_figure():
    rates = []

    class Watch(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    sgd = lambda parameters: SGD(parameters, lr=1.0)  # noqa: E731
    train(make(optimizer=sgd, scheduler=lambda o: StepLR(o, 2, 0.1)), epochs=4, callbacks=[Watch()])
    assert rates == pytest.approx([1, 1, 0.1, 0.1])
    rates.clear()
    plateau = lambda o: ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=1e9)  # noqa: E731
    train(make("classifier", optimizer=sgd, scheduler=plateau), epochs=6, every=2, callbacks=[Watch()])
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


def test_optimizers_that_ask_for_the_loss_again_get_it_with_the_same_noise():
    module = make(optimizer=lambda parameters: LBFGS(parameters, lr=0.1, max_iter=4))
    record = train(module, epochs=4)
    assert record.history[-1]["train/loss"] < record.history[0]["train/loss"]


def test_the_loss_scale_of_half_precision_changes_nothing_but_the_scale(monkeypatch):
    modules = [make(optimizer=lambda p: Adam(p, lr=0.01)) for _ in range(2)]
    train(modules[0], dispatch=5)
    steps = scale_losses(monkeypatch, init_scale=8.0)
    train(modules[1], dispatch=5, gradient_clip_val=1e6)
    torch.testing.assert_close(modules[0].state_dict(), modules[1].state_dict())
    assert steps[0].scaler.get_scale() == 8.0


class Unfreeze(Callback):
    """Add the decoder in the second epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            trainer.optimizers[0].add_param_group({"params": list(pl_module.g.parameters())})


def test_parameters_that_are_added_on_the_way_are_cleared_clipped_and_fused():
    norms, added = [], []

    class Look(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
            norms.append(nn.utils.get_total_norm(gradients).item())
            added[:] = optimizer.param_groups[1:]

    module = make(optimizer=lambda parameters: Adam(list(parameters)[:2], lr=0.01))
    before = [weights.clone() for weights in module.g.parameters()]
    train(module, callbacks=[Unfreeze(), Look()], gradient_clip_val=0.01)
    assert max(norms) <= 0.0100001
    assert [group["fused"] for group in added] == [True]
    assert not any(torch.equal(*pair) for pair in zip(before, module.g.parameters(), strict=True))


@pytest.mark.parametrize(
    "setting", [{"gradient_clip_val": 0}, {"gradient_clip_val": math.inf}, {"accumulate": 0}, {"dispatch": 0}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=f"trainer.{next(iter(setting))} must be"):
        TrainerOptions(**setting)


def test_the_module_is_left_as_it_was():
    module = make()
    train(module)
    assert module.automatic_optimization
    assert "training_step" not in vars(module)
