"""The arguments of a module in a checkpoint of Lightning, as plain values: ``load_from_checkpoint`` needs no others."""

import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aepretrain.errors import ConfigError
from aepretrain.parts.coders import Coder
from aepretrain.parts.corruptions import Corruption
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.parts.penalties import SparsityPenalty

KEY = "hyperparameters"
"""What the checkpoint holds them under."""
NOT_KEPT = "not kept"
"""What the checkpoint holds the names of those under that no plain values describe."""
OF_LIGHTNING = {"checkpoint_path", "map_location", "hparams_file", "strict", "weights_only"}
"""Names of arguments of ``load_from_checkpoint`` itself."""
PARTS = (Coder, Corruption, Likelihood, SparsityPenalty)
"""What an argument may be an instance of, if it is a dataclass."""
FACTORIES = ("optimizer", "scheduler")
"""Arguments that only further training needs."""


class KeepsHyperparameters(LightningModule):
    """A LightningModule whose checkpoints hold the arguments that it was made with.

    Coders, likelihoods, corruptions and penalties are kept, and optimizers and schedulers that are classes or partials
    of classes. Other functions, and modules such as the encoder of a head, have to be given again.

    Example:
        >>> import tempfile
        >>> from lightning.pytorch import Trainer
        >>> from aepretrain import Bernoulli, Dense, PlainAutoencoder
        >>> trainer = Trainer(barebones=True)
        >>> trainer.strategy.connect(PlainAutoencoder((6,), Dense(2), likelihood=Bernoulli()))
        >>> path = f"{tempfile.mkdtemp()}/a.ckpt"
        >>> trainer.save_checkpoint(path)
        >>> PlainAutoencoder.load_from_checkpoint(path).L
        Bernoulli()
    """

    given: tuple[tuple[Any, ...], dict[str, Any]]
    """The arguments of the constructor, as they were given."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        module = super().__new__(cls)
        vars(module)["given"] = (args, kwargs)  # a module takes no attributes before its constructor has run
        return module

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        args, kwargs = self.given
        checkpoint[KEY], checkpoint[NOT_KEPT] = {}, []
        for name, value in _by_name(type(self), args, kwargs).items():
            try:
                checkpoint[KEY][name] = _described(value)
            except TypeError:
                checkpoint[NOT_KEPT].append(name)

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a module from a checkpoint, as Lightning's method of this name.

        Args:
            checkpoint_path: The file.
            map_location: As for Lightning's method, like the next three.
            hparams_file: As for Lightning's method.
            strict: As for Lightning's method.
            weights_only: As for Lightning's method.
            kwargs: Arguments of the constructor, which replace those that the checkpoint holds.

        Raises:
            ConfigError: If the checkpoint lacks an argument that changes what the module computes, or names what is no
                argument.
        """
        kept = _read(checkpoint_path, weights_only)
        missing = [name for name in kept.get(NOT_KEPT, ()) if name not in kwargs]
        if needed := [name for name in missing if name not in FACTORIES]:
            raise ConfigError(
                f"{checkpoint_path} holds no {' and no '.join(needed)}, which no plain values describe. Give "
                f"{cls.__name__}.load_from_checkpoint(path, {', '.join(f'{name}=...' for name in needed)})."
            )
        if missing:
            words = f"{checkpoint_path} holds no {' and no '.join(missing)}, as no plain values describe a function"
            warnings.warn(f"{words}: the default is taken. Give it again to train on.", stacklevel=2)
        known = kept.get(KEY, {})
        if odd := {*known} & OF_LIGHTNING:
            raise ConfigError(f"{checkpoint_path} names {min(odd)}, which is no argument of a module. Save it again.")
        own = {name: _rebuilt(value) for name, value in known.items() if name not in kwargs} | kwargs
        return super().load_from_checkpoint(checkpoint_path, map_location, hparams_file, strict, weights_only, **own)


def _by_name(cls: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor by name; what it hands on unnamed has the names of the class above."""
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]
    found: dict[str, Any] = {}
    for name, value in signature.bind_partial(None, *args, **kwargs).arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            place = next(k for k, each in enumerate(cls.__mro__) if "__init__" in vars(each))
            found |= _by_name(cls.__mro__[place + 1], value, {})
        else:
            found[name] = value
    found.pop(next(iter(signature.parameters)), None)  # self
    return found


def _read(file: Any, weights_only: bool | None) -> Mapping[str, Any]:
    """A checkpoint; empty if it is not on this machine."""
    if not hasattr(file, "seek") and not Path(file).is_file():
        return {}
    found = torch.load(file, map_location="cpu", weights_only=weights_only is not False)
    if hasattr(file, "seek"):
        file.seek(0)
    return found if isinstance(found, dict) else {}


def _described(value: Any) -> Any:
    """An argument in plain values.

    Raises:
        TypeError: If it cannot be described.
    """
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and not value.ndim):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_described(each) for each in value]
    if isinstance(value, partial | type):
        made = [value] if isinstance(value, type) else [each for each in (value.func, *value.args) if _is_factory(each)]
        if len(made) == 1 and _is_factory(made[0]):
            settings = {} if isinstance(value, type) else value.keywords
            return {"factory": _path(made[0]), "init_args": {name: _described(each) for name, each in settings.items()}}
    elif _is_part(type(value)):
        arguments = {each.name: _described(getattr(value, each.name)) for each in fields(value) if each.init}
        return {"class_path": _path(type(value)), "init_args": arguments}
    raise TypeError(f"no plain values describe {value!r:.80}")


def _rebuilt(value: Any) -> Any:
    """An argument from plain values; only classes whose modules are imported already are looked up."""
    if isinstance(value, list):
        return tuple(map(_rebuilt, value))
    if not isinstance(value, dict):
        return value
    path = str(value.get("factory") or value.get("class_path"))
    module, _, name = path.rpartition(".")
    cls = getattr(sys.modules.get(module), name, None)
    if not (_is_factory(cls) if "factory" in value else _is_part(cls)):
        raise ConfigError(f"the checkpoint names {path}, which is no class that is known here. Import {module} before.")
    assert isinstance(cls, type)
    arguments = {key: _rebuilt(each) for key, each in dict(value.get("init_args", {})).items()}
    try:
        return partial(cls, **arguments) if "factory" in value else cls(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the checkpoint's {name} cannot be made: {error} Give it again by the argument.") from error


def _is_part(value: Any) -> bool:
    """Whether a class is a part whose fields are all that its constructor takes."""
    if not isinstance(value, type) or not issubclass(value, PARTS):
        return False
    return "__dataclass_fields__" in vars(next(each for each in value.__mro__ if "__init__" in vars(each)))


def _is_factory(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Optimizer | LRScheduler)


def _path(cls: type) -> str:
    if "<locals>" in cls.__qualname__:
        raise TypeError(f"{cls.__qualname__} is a class inside a function")
    return f"{cls.__module__}.{cls.__qualname__}"
