"""A saved state of an optimizer or a scheduler goes on as it was, and one that does not fit is refused."""

import io

import pytest
import torch
from torch.optim import lr_scheduler

from aepretrain.parts.schedules import Schedules
from aepretrain.storage.plain_values import plain
from aepretrain.training.recovery.saved_states import check_optimizer_state, check_state

OPTIMIZERS = {
    "Adam": {}, "fused Adam": {"fused": True}, "AdamW": {"amsgrad": True}, "SGD": {"momentum": 0.9},
    "plain SGD": {}, "fused SGD": {"fused": True, "momentum": 0.9, "nesterov": True}, "Adagrad": {}, "Adadelta": {},
    "Adamax": {}, "ASGD": {}, "NAdam": {}, "RAdam": {}, "RMSprop": {"momentum": 0.9, "centered": True}, "Rprop": {},
    "Adafactor": {}, "LBFGS": {},
}  # fmt: skip
SCHEDULERS = {
    "StepLR": {"step_size": 2}, "MultiStepLR": {"milestones": [2, 3]}, "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 5}, "CosineAnnealingWarmRestarts": {"T_0": 2}, "LinearLR": {}, "PolynomialLR": {},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 20}, "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1},
    "ReduceLROnPlateau": {},
}  # fmt: skip


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((4, 3), (4,))]


def optimizer(name, weights):
    make = getattr(torch.optim, name.split()[-1])
    groups = weights if name == "LBFGS" else [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.02}]
    return make(groups, lr=0.01, **OPTIMIZERS[name])


def steps(found, weights, count, scheduler=None):
    def closure():
        loss = sum((weight - 1).square().sum() for weight in weights)
        found.zero_grad()
        loss.backward()
        return loss

    for _ in range(count):
        loss = found.step(closure)
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(loss.item())
        elif scheduler is not None:
            scheduler.step()


def saved(state):
    """The state as a checkpoint gives it back."""
    buffer = io.BytesIO()
    torch.save(plain(state, "state"), buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_from_its_own_state(name):
    weights = parameters()
    first = optimizer(name, weights)
    steps(first, weights, 3)
    state, others = saved(first.state_dict()), [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    second = optimizer(name, others)
    before = [weight.detach().clone() for weight in others]
    check_optimizer_state(second, state)
    assert all(map(torch.equal, before, others))
    assert not second.state or name == "Adagrad"
    second.load_state_dict(state)
    steps(first, weights, 2)
    steps(second, others, 2)
    assert all(map(torch.equal, weights, others))


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("inside", [False, True])
def test_every_scheduler_goes_on_from_its_own_state(name, inside):
    def make():
        found = torch.optim.SGD(weights := parameters(), lr=0.01, momentum=0.9)
        schedule = getattr(lr_scheduler, name)
        if not inside:
            return found, weights, schedule(found, **SCHEDULERS[name])
        parts = [lr_scheduler.LinearLR, lambda optimizer: schedule(optimizer, **SCHEDULERS[name])]
        return found, weights, Schedules(found, parts, [2])

    if inside and name in ("ReduceLROnPlateau", "OneCycleLR", "CyclicLR"):
        pytest.skip("is stepped by other rules")
    first, weights, schedule = make()
    steps(first, weights, 4, schedule)
    second, _, other = make()
    check_optimizer_state(second, saved(first.state_dict()))
    check_state("scheduler", plain(other.state_dict(), "scheduler"), saved(schedule.state_dict()))


def of_parameter(name, value):
    return lambda state: state["state"][0].update({name: value})


def of_group(name, value):
    return lambda state: state["param_groups"][0].update({name: value})


TAMPERED = {
    "too small": (of_parameter("exp_avg", torch.zeros(1)), r"exp_avg of state of parameter 0 must have the shape"),
    "too large": (of_parameter("exp_avg_sq", torch.zeros(40, 30)), "must have the shape"),
    "another type": (of_parameter("exp_avg", torch.zeros(4, 3, dtype=torch.complex64)), "float32, but has"),
    "sparse": (of_parameter("exp_avg", torch.zeros(4, 3).to_sparse()), "must have the shape"),
    "many steps": (of_parameter("step", torch.zeros(7)), "step of state of parameter 0 must have the shape"),
    "text": (of_parameter("exp_avg", "x"), "must be a tensor, but is 'x'"),
    "missing": (lambda state: state["state"][0].pop("exp_avg"), "must hold exp_avg, exp_avg_sq, step"),
    "more": (of_parameter("max_exp_avg_sq", torch.zeros(4, 3)), "must hold exp_avg, exp_avg_sq, step"),
    "rate": (of_group("lr", "x"), "lr of group 0 must be a number, but is 'x'"),
    "betas": (of_group("betas", (0.1, 0.2, 0.3)), "betas of group 0 must be 2 values"),
    "amsgrad": (of_group("amsgrad", True), "amsgrad of group 0 must be False, but is True"),
    "kernel": (of_group("foreach", 3), "foreach of group 0 must be None, but is 3"),
    "maximize": (of_group("maximize", True), "maximize of group 0 must be False, but is True"),
    "order": (of_group("params", [1]), r"params of group 0 must be \[0\], but is \[1\]"),
    "number": (lambda state: state["state"].update({9: state["state"].pop(0)}), "list index"),
    "groups": (lambda state: state["param_groups"].pop(), "zip"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_state_that_does_not_fit_the_optimizer_is_refused(name):
    tamper, message = TAMPERED[name]
    weights = parameters()
    found = optimizer("Adam", weights)
    steps(found, weights, 2)
    state = saved(found.state_dict())
    tamper(state)
    with pytest.raises((ValueError, IndexError), match=message):
        check_optimizer_state(optimizer("Adam", parameters()), state)


def test_a_state_of_a_fused_optimizer_fits_one_that_is_not_yet():
    weights = parameters()
    found = optimizer("fused Adam", weights)
    steps(found, weights, 2)
    check_optimizer_state(optimizer("Adam", parameters()), saved(found.state_dict()))


def test_a_state_that_does_not_fit_the_scheduler_is_refused():
    own = {"last_epoch": 0, "best": None, "name": "a", "on": True, "rates": [0.1], "of": {"a": 1.0}}
    check_state("scheduler", own, {**own, "best": 0.5, "last_epoch": 7})
    for name, value in {
        "last_epoch": True, "best": "x", "name": 3, "on": 1, "rates": [0.1, 0.2], "of": [1.0],
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} of scheduler must be"):
            check_state("scheduler", own, {**own, name: value})
    with pytest.raises(ValueError, match="scheduler must hold"):
        check_state("scheduler", own, {"last_epoch": 3})
