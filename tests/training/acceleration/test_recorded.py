"""Recorded steps against launched ones: the same bits, and nothing recorded that has to be computed anew."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau, StepLR

from aepretrain import Autoencoder, Bernoulli, DenoisingAutoencoder, Dense, PlainAutoencoder
from aepretrain.training import stage
from aepretrain.training.acceleration import products, recorded, tape
from aepretrain.training.acceleration.recordable import reason_of_module
from tests.training.test_loop import MODULES, make, same_bits, train

OPTIMIZERS = {
    "sgd": lambda parameters: SGD(parameters, lr=0.1),
    "decayed": lambda parameters: SGD(parameters, lr=0.1, weight_decay=0.01),
    "nesterov": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda parameters: Adam(parameters, lr=0.01, amsgrad=True),
    "adamw": lambda parameters: AdamW(parameters, lr=0.01, weight_decay=0.1),
    "adagrad": lambda parameters: Adagrad(parameters, lr=0.05, lr_decay=0.1),
}


@pytest.fixture
def repeated(monkeypatch):
    """The recordings of a test, each time that one is repeated."""
    repeats, repeat = [], recorded.Recording.repeat

    def counted(recording, batch):
        repeats.append(recording)
        return repeat(recording, batch)

    monkeypatch.setattr(recorded.Recording, "repeat", counted)
    return repeats


def check_bits(build, repeated, *, count=None, **options):
    """Train twice, launched and recorded, and compare every bit of weights and history."""
    modules, histories = [build(), build()], []
    for module, steps in zip(modules, ("launched", "auto"), strict=True):
        assert not repeated
        history = train(module, steps=steps, **options).history
        histories.append([{**row, "epoch_seconds": 0} for row in history])
    assert same_bits(*modules)
    assert histories[0] == histories[1]
    assert len(repeated) == count if count is not None else repeated


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODULES)
def test_recorded_steps_have_the_bits_of_launched_ones(name, optimizer, repeated):
    # 90 examples in batches of 16: the second of five whole ones is recorded, the one of ten comes up too rarely.
    build = lambda: make(name, optimizer=OPTIMIZERS[optimizer])  # noqa: E731
    check_bits(build, repeated, epochs=3, count=3 + 5 + 5)


@pytest.mark.parametrize(
    ("batch_size", "count"),
    [
        (60, 2 * (24 - recorded.OFTEN)),  # whole and odd batches alternate: both come up often in the end
        (30, 1 + 24 * 3),  # the second of an epoch's three whole ones
        (40, 24 * 2 + (24 - recorded.OFTEN)),  # two whole ones, of which the second is recorded, and an odd one
    ],
)
def test_a_shape_that_comes_up_often_is_recorded_although_none_follows_another(batch_size, count, repeated):
    check_bits(lambda: make("denoising"), repeated, batch_size=batch_size, epochs=25, count=count)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    "options",
    [{"precision": "bf16-mixed"}, {"gradient_clip_val": 0.05}, {"chunk_steps": 2}],
    ids=str,
)
def test_so_they_have_with_every_option_of_the_trainer(name, options, repeated):
    check_bits(lambda: make(name), repeated, **options)


SCHEDULERS = {
    "per epoch": lambda o: StepLR(o, 1, 0.5),
    "per step": lambda o: OneCycleLR(o, max_lr=0.1, total_steps=18),
    "momentum": lambda o: CyclicLR(o, 0.01, 0.1, step_size_up=3, cycle_momentum=True),
    "plateau": lambda o: ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=1e9),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", ["nesterov", "adam", "sgd"])
def test_settings_of_the_optimizer_are_read_at_every_step(scheduler, optimizer, repeated):
    if (scheduler, optimizer) in (("momentum", "sgd"), ("per step", "sgd")):
        pytest.skip("plain SGD has no momentum to cycle")
    build = lambda: make(optimizer=OPTIMIZERS[optimizer], scheduler=SCHEDULERS[scheduler])  # noqa: E731
    check_bits(build, repeated)


def test_the_k_largest_units_are_chosen_anew_in_every_step(repeated):
    build = lambda: seeded(lambda: PlainAutoencoder((6,), Dense(8, "relu", k=3, unit_norm=True)))  # noqa: E731
    check_bits(build, repeated, count=3 + 5 + 5)


def seeded(build):
    torch.manual_seed(0)
    return build()


class Conv(nn.Module):
    """A convolution, batch norm and torch's own dropout, on images of 2 x 3."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x.reshape(-1, 1, 2, 3))


def test_batch_norm_and_convolutions_are_recorded_with_their_statistics(repeated):
    def build():
        module = make("classifier")
        module.encoder = Conv()
        module.head = nn.Linear(2, 2)
        return module

    modules = [build(), build()]
    modules[1].load_state_dict(modules[0].state_dict())
    for module, steps in zip(modules, ("launched", "recorded"), strict=True):
        train(module, steps=steps)
    assert same_bits(*modules)
    assert len(repeated) == 3 + 5 + 5


# What cannot be recorded


class Curious(Autoencoder):
    """Reads a value: what it computes depends on more than the shape of a batch."""

    def energy(self, x):
        energies = self.L(x, self.g(self.f(x)))
        return energies if energies.mean().item() > 0 else energies * 2


def test_a_class_of_the_user_is_launched_unless_vouched_for(repeated, capsys):
    train(Curious((6,), Dense(4)))
    assert not repeated
    assert "steps are not recorded: Curious is a class of your own" in " ".join(capsys.readouterr().out.split())


def test_a_step_that_reads_a_value_is_launched_with_the_same_bits(repeated, capsys):
    torch.manual_seed(0)
    one = Curious((6,), Dense(4))
    other = deepcopy(one)
    train(one, steps="recorded")
    assert not repeated
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("not recorded: it reads a value with aten::_local_scalar_dense") == 1
    train(other, steps="launched")
    assert same_bits(one, other)


def test_a_recording_that_takes_too_much_memory_is_given_up(repeated, monkeypatch, capsys):
    monkeypatch.setattr(tape, "MAX_BYTES", 1000)
    train(make())
    assert not repeated
    assert "its results take more than" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m, o: m.f.register_forward_hook(lambda *args: None), "a Sequential has hooks"),
        (lambda m, o: setattr(m.f, "forward", m.f.forward), "the forward of a Sequential was replaced"),
        (lambda m, o: setattr(m, "energy", m.energy), "the energy of a PlainAutoencoder was replaced"),
        (lambda m, o: next(m.parameters()).register_hook(lambda g: None), "the gradient of f.affine.weight has hooks"),
        (lambda m, o: o.register_step_post_hook(lambda *args: None), "the optimizer Adam has hooks"),
        (lambda m, o: o.param_groups[0].update(lr=torch.tensor(0.1)), "the learning rate is a tensor"),
        (lambda m, o: None, None),
    ],
)
def test_what_a_recording_would_leave_out_is_seen_before(change, reason):
    module = PlainAutoencoder((6,), Dense(4))
    optimizer = module.make_optimizer()
    stage.fuse(optimizer)
    change(module, optimizer)
    assert reason_of_module(module, optimizer) == reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"on_nan": "skip"}, "on_nan skip looks at the gradients of every step"),
        ({"accumulate": 3}, "trainer.accumulate saves memory, which a recording would keep"),
        ({"steps": "launched"}, None),
    ],
)
def test_what_the_run_asks_for_may_rule_recording_out(options, reason, repeated, capsys):
    train(make(), **options)
    assert not repeated
    told = capsys.readouterr().out
    assert (reason in " ".join(told.split())) if reason else "recorded" not in told


def test_an_optimizer_that_is_not_fused_is_launched(repeated, capsys):
    train(make(optimizer=lambda parameters: RMSprop(parameters)))
    assert not repeated
    assert "the optimizer RMSprop is not fused" in capsys.readouterr().out


# Plain SGD on large matrices


def build_plain(optimizer, tied=False):
    torch.manual_seed(0)
    return DenoisingAutoencoder((6,), Dense(4, tied=tied), likelihood=Bernoulli(), optimizer=optimizer)


def product_updates(repeated):
    return [call for call in repeated[-1].calls if isinstance(call, products.ProductUpdate)]


@pytest.mark.parametrize("tied", [False, True])  # two weights, or one whose gradient is the sum of two products
@pytest.mark.parametrize("scheduler", [None, lambda o: StepLR(o, 1, 0.5)])
def test_large_matrices_of_plain_sgd_are_updated_by_their_product(scheduler, tied, repeated, monkeypatch):
    monkeypatch.setattr(products, "SMALLEST", 24)
    modules = [build_plain(OPTIMIZERS["sgd"], tied) for _ in range(2)]
    for module, steps in zip(modules, ("launched", "auto"), strict=True):
        module.scheduler = scheduler
        train(module, steps=steps)
    assert len(product_updates(repeated)) == 2
    assert len(repeated) == 18  # the first step of a shape, too
    torch.testing.assert_close(modules[0].state_dict(), modules[1].state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "tied", "options"),
    [
        ("nesterov", False, {}),
        ("decayed", False, {}),
        ("decayed", True, {}),
        ("sgd", False, {"gradient_clip_val": 0.1}),
        ("sgd", True, {"gradient_clip_val": 0.1}),
    ],
)
def test_gradients_that_something_else_reads_are_computed(optimizer, tied, options, repeated, monkeypatch):
    monkeypatch.setattr(products, "SMALLEST", 24)
    check_bits(lambda: build_plain(OPTIMIZERS[optimizer], tied), repeated, **options)
    assert not product_updates(repeated)


class Orthogonal(Autoencoder):
    """Penalizes the products of the units' weights: their gradient is a product with the weights themselves."""

    def energy(self, x):
        (weights,) = (weights for weights in self.f.parameters() if weights.ndim == 2)
        return 0.01 * (weights @ weights.t()).square().sum().expand(len(x))


def test_a_product_with_weights_that_change_is_not_put_off(repeated, monkeypatch):
    monkeypatch.setattr(products, "SMALLEST", 24)
    build = lambda: seeded(lambda: Orthogonal((6,), Dense(4), optimizer=OPTIMIZERS["sgd"]))  # noqa: E731
    modules = [build(), build()]
    for module, steps in zip(modules, ("launched", "recorded"), strict=True):
        train(module, steps=steps)
    assert repeated
    assert not product_updates(repeated)
    assert same_bits(*modules)
