"""Whether the saved state of an optimizer or a scheduler fits the one that is to go on with it.

torch checks neither shapes nor types, and its fused kernels write beyond a tensor that is too small: a checkpoint of
somebody else could end the process.
"""

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from aepretrain.results.records import shown

KERNELS = ("fused", "foreach")
"""Settings that choose how a step is computed, with the same state; the training loop chooses them for the device."""


def check_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Compare a saved state with that of the optimizer after a step.

    Args:
        optimizer: A new optimizer, before its first step.
        state: As its ``state_dict`` returns it. That of LBFGS is compared in its settings alone: its history grows.

    Raises:
        KeyError, TypeError, ValueError: If it does not fit; the message names what differs.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(3))
        >>> saved = {**torch.optim.Adam([weight]).state_dict(), "state": {0: {"step": torch.tensor(1.0)}}}
        >>> check_optimizer_state(torch.optim.Adam([weight]), saved)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ValueError: state of parameter 0 must hold exp_avg, exp_avg_sq, step, but holds step
    """
    inner = getattr(optimizer, "optimizer", optimizer)  # Fabric's wrapper holds ours
    own = inner.state_dict()["param_groups"]
    for number, (group, saved) in enumerate(zip(own, state["param_groups"], strict=True)):
        chosen = {name: saved[name] for name in KERNELS if name in group and saved.get(name) in (None, True, False)}
        group = {**group, **chosen}
        _check_alike(f"group {number}", group, saved)
        for name, value in group.items():
            if (value is None or isinstance(value, bool | str) or name == "params") and saved[name] != value:
                raise ValueError(f"{name} of group {number} must be {shown(value)}, but is {shown(saved[name])}")
    if isinstance(inner, LBFGS):
        return
    numbered = [(group, weight) for group in inner.param_groups for weight in group["params"]]
    for number, saved in state["state"].items():
        _check_alike(f"state of parameter {number}", _after_a_step(inner, *numbered[number]), saved)


def check_state(name: str, own: Mapping[str, Any], saved: Any) -> None:
    """Compare a saved state with that of a new scheduler or gradient scaler.

    Args:
        name: What it is the state of, in the words of messages.
        own: The ``state_dict`` of the new one, of plain values.
        saved: The saved one.

    Raises:
        ValueError: If it does not fit; the message names what differs.

    Example:
        >>> check_state("scheduler", {"last_epoch": 0}, {"last_epoch": 7})
        >>> check_state("scheduler", {"last_epoch": 0}, {"last_epoch": "x"})
        Traceback (most recent call last):
        ValueError: last_epoch of scheduler must be a number, but is 'x'
    """
    _check_alike(name, own, saved)


def _after_a_step(optimizer: Optimizer, group: dict[str, Any], weight: Tensor) -> dict[str, Any]:
    """The state of one parameter after a step of a copy of the optimizer, with a gradient of zeros."""
    copied = torch.nn.Parameter(weight.detach().clone())
    copied.grad = torch.zeros_like(copied)
    other = object.__new__(type(optimizer))
    # A scheduler replaces step of the one optimizer that it steps: the copy takes that of the class.
    other.__dict__.update({name: value for name, value in vars(optimizer).items() if name != "step"})
    other.state = defaultdict(dict)
    if weight in optimizer.state:  # some make a state before the first step
        other.state[copied] = copy.deepcopy(optimizer.state[weight])
    other.param_groups = [{**group, "params": [copied]}]
    type(optimizer).step(other)
    return dict(other.state[copied])


def _check_alike(place: str, own: Any, saved: Any) -> None:
    """Raise a ValueError unless a saved value has the kind, the shape and the keys of our own."""
    if isinstance(own, Mapping):
        _check_kind(place, "keys and values", saved, isinstance(saved, Mapping))
        if set(own) != set(saved):
            names = (", ".join(sorted(map(str, keys))) for keys in (own, saved))
            raise ValueError("{} must hold {}, but holds {:.100}".format(place, *names))
        for name, value in own.items():
            _check_alike(f"{name} of {place}", value, saved[name])
    elif isinstance(own, list | tuple):
        _check_kind(place, f"{len(own)} values", saved, isinstance(saved, list | tuple) and len(saved) == len(own))
        for number, (value, other) in enumerate(zip(own, saved, strict=True)):
            _check_alike(f"value {number} of {place}", value, other)
    elif isinstance(own, Tensor):
        _check_kind(place, "a tensor", saved, isinstance(saved, Tensor))
        if (saved.shape, saved.dtype, saved.layout) != (own.shape, own.dtype, own.layout):
            found = f"{tuple(saved.shape)}, {saved.dtype}"
            raise ValueError(f"{place} must have the shape {tuple(own.shape)}, {own.dtype}, but has {found}")
    elif isinstance(own, bool | str):
        _check_kind(place, "text" if isinstance(own, str) else "true or false", saved, type(saved) is type(own))
    elif isinstance(own, int | float):
        _check_kind(place, "a number", saved, type(saved) in (int, float))
    else:
        _check_kind(place, "null or a number", saved, saved is None or type(saved) in (int, float))


def _check_kind(place: str, rule: str, saved: Any, fits: bool) -> None:
    if not fits:
        raise ValueError(f"{place} must be {rule}, but is {shown(saved)}")
