"""Architectures of plain torch modules, described in plain values and built from them."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from aepretrain.errors import StorageError
from aepretrain.parts.sparse_codes import JumpReLU, TopK
from aepretrain.results.records import shown

MAX_DEPTH = 32
BY_EXAMPLE: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        nn.Linear,
        nn.Conv1d,
        nn.Conv2d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.Upsample,
        nn.MaxPool2d,
        nn.AvgPool2d,
        nn.Flatten,
        nn.Unflatten,
        nn.Sigmoid,
        nn.Tanh,
        nn.ReLU,
        nn.LeakyReLU,
        nn.ELU,
        nn.Softplus,
        nn.SiLU,
        nn.GELU,
        nn.Identity,
        TopK,
        JumpReLU,
    )
}
"""Modules that treat every example by itself, in training too, and every dimension but the first as one of it."""
LAYERS = BY_EXAMPLE | {cls.__name__: cls for cls in (nn.BatchNorm1d, nn.BatchNorm2d, nn.Softmax)}
"""The modules that an encoder may contain, each described by the arguments of its constructor."""


def describe(module: nn.Module) -> dict[str, Any]:
    """Describe the architecture of a module in plain values.

    Args:
        module: A module in :data:`LAYERS`, or an arbitrarily nested ``nn.Sequential`` of them.

    Raises:
        ValueError: If a module is of another type.

    Example:
        >>> describe(nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()))["modules"][1]
        {'type': 'Sigmoid'}
    """
    if type(module) is nn.Sequential:
        return {"type": "Sequential", "modules": [describe(child) for child in module]}
    name = type(module).__name__
    if LAYERS.get(name) is not type(module):
        raise ValueError(f"an encoder can be saved if it is made of {', '.join(LAYERS)}, but it has a {name}.")
    arguments = _arguments(type(module))
    values = {argument: getattr(module, argument) for argument in arguments if hasattr(module, argument)}
    if "bias" in values:
        values["bias"] = values["bias"] is not None
    return {"type": name, **values}


def _arguments(cls: type[nn.Module]) -> list[str]:
    ignored = {"self", "device", "dtype", "inplace", "args", "kwargs"}
    return [name for name in inspect.signature(cls.__init__).parameters if name not in ignored]


def build(description: Mapping[str, Any], *, depth: int = 0) -> nn.Module:
    """Build a module from its description by :func:`describe`, with fresh weights.

    Args:
        description: The description.
        depth: Number of enclosing Sequentials.

    Raises:
        StorageError: If the description names an unknown module or wrong arguments, or nests too deeply.
    """
    if depth > MAX_DEPTH:
        raise StorageError(f"an encoder's config nests modules more than {MAX_DEPTH} deep. Export it again.")
    if not isinstance(description, Mapping) or "type" not in description:
        raise StorageError(f"an encoder's config must describe a module by its type, but has {shown(description)}.")
    name = description["type"]
    arguments = {key: value for key, value in description.items() if key != "type"}
    if name == "Sequential":
        modules = arguments.get("modules")
        if not isinstance(modules, list):
            raise StorageError("an encoder's config must list the modules of a Sequential, but does not.")
        return nn.Sequential(*(build(child, depth=depth + 1) for child in modules))
    if not isinstance(name, str) or name not in LAYERS:
        raise StorageError(f"an encoder is made of {', '.join(LAYERS)}, but its config names {shown(name)}.")
    try:
        return LAYERS[name](**{key: _as_tuple(value) for key, value in arguments.items()})
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError) as error:
        raise StorageError(f"the config of a {name} does not fit: {' '.join(str(error).split())}") from error


def _as_tuple(value: Any) -> Any:
    """Convert lists, which JSON has instead of tuples, to tuples."""
    return tuple(value) if isinstance(value, list) else value
