"""The keys and class names of a config, checked before anything is built."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lightning.pytorch import Callback
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aepretrain import parts
from aepretrain.compare import Comparison
from aepretrain.data import DataModule
from aepretrain.heads import Classifier, Head
from aepretrain.layers import Layer
from aepretrain.parts import coders, corruptions, likelihoods, penalties
from aepretrain.tracking.options import WandbOptions
from aepretrain.training.options import FineTuning, Pretraining, Saving, TrainerOptions

for module in pkgutil.iter_modules(parts.__path__):  # the import registers coders and their like for configs
    importlib.import_module(f"{parts.__name__}.{module.name}")

LAYER = Callable[[tuple[int, ...]], Layer]
"""Type of an entry of ``layers``, parsed into a factory."""
HEAD = Callable[[nn.Module, int], Head]
"""Type of ``head``, parsed into a factory."""
CALLBACK = Callable[[], Callback]
"""Type of an entry of ``callbacks``, parsed into a factory."""
GROUPS: dict[str, type] = {
    "pretrain": Pretraining,
    "classifier": Classifier,
    "finetune": FineTuning,
    "trainer": TrainerOptions,
    "checkpoint": Saving,
    "compare": Comparison,
    "wandb": WandbOptions,
}
TOP_LEVEL = (
    "seed", "data", "layers", "head", "warm_start", "warm_start_layers", "warm_start_sha256", "loggers", *GROUPS,
    "on_nan", "callbacks", "control", "report", "out", "resume", "config",
)  # fmt: skip
NETWORK = ("layers", "pretrain", "classifier", "head", "finetune")
"""Settings that the control network has of its own."""
NOT_IN_CONFIGS = ("self", "in_shape", "kwargs")
FROM_THE_RUN = ("encoder", "num_classes", "code_features")
"""Arguments of the classifier that the run, not the config, provides."""
EXPECTED: dict[str, type] = {
    "layers": Layer,
    "head": Head,
    "data": DataModule,
    "coder": coders.Coder,
    "corruption": corruptions.Corruption,
    "likelihood": likelihoods.Likelihood,
    "penalty": penalties.SparsityPenalty,
    "optimizer": Optimizer,
    "scheduler": LRScheduler,
}


def problems(config: Any, known: Sequence[str] = TOP_LEVEL, place: str = "") -> Iterator[str]:
    """Problems with the keys and class names of a config, one sentence each."""
    for key, value in config.items():
        first, *rest = str(key).split(".")
        if first not in known:
            yield f"unknown key {place + str(key)!r}.{nearest_setting(first, place=place, known=known)}"
        elif first == "control" and rest:
            yield from problems({".".join(rest): value}, NETWORK, "control.")
        elif first == "control" and isinstance(value, dict):
            yield from problems(value, NETWORK, "control.")
        elif first == "control":
            yield f"control must hold the settings of a network, but is {value!r}. Give it layers at least."
        elif first in GROUPS and not rest and not isinstance(value, dict):
            yield f"{place}{first} must hold settings with values, but is {value!r}. Leave it out for the defaults."
        elif first in GROUPS:
            keys = rest[:1] or (value if isinstance(value, dict) else [])
            yield from _unknown_keys(keys, GROUPS[first], place + first)
            if isinstance(value, dict):
                yield from _nested(value, place + first)
        elif first == "layers" and rest:
            yield f"{place}{key} must stand in the list {place}layers. Only arguments name a layer by its number."
        elif first == "layers":
            if not isinstance(value, list):
                yield f"{place}layers must be a list with one entry per layer, but is {value!r}."
                continue
            for k, layer in enumerate(value):
                yield from _class_problems(layer, Layer, f"{place}layers[{k}]")
        elif first == "data" and not rest:
            yield from _class_problems(value, DataModule, "data")


def _class_problems(spec: Any, base: type, place: str) -> Iterator[str]:
    """Problems with a class named in a config, alone or with its arguments."""
    name = spec if isinstance(spec, str) else spec.get("class_path") if isinstance(spec, dict) else None
    if not isinstance(name, str):
        yield f"{place} must name a class by class_path, but is {spec!r}."
        return
    known = known_classes(base)
    cls = known.get(name.rsplit(".", 1)[-1])
    if cls is None:
        if "." not in name or name.startswith(("torch.", "aepretrain.")):
            yield f"{place}: there is no {base.__name__} called {name!r}.{nearest(name.rsplit('.', 1)[-1], known)}"
        return
    if not isinstance(spec, dict):
        spec = {}
    for key in spec:
        if key not in ("class_path", "init_args", "dict_kwargs"):
            yield f"{place}: unknown key {key!r}; the arguments of {name} go under init_args."
    arguments = spec.get("init_args") or {}
    if not isinstance(arguments, dict):
        yield f"{place}.init_args must hold arguments with their values, but is {arguments!r}."
        return
    yield from _unknown_keys(arguments, cls, f"{place}.init_args")
    if cls.__module__.startswith("aepretrain.") and base is not DataModule:  # arguments may complete the data
        for key in required_keys(cls):
            if key not in arguments:
                yield f"{place}: {name} needs {key!r} under init_args."
    yield from _nested(arguments, f"{place}.init_args")


def _nested(arguments: dict[str, Any], place: str) -> Iterator[str]:
    for key, value in arguments.items():
        if key in EXPECTED and not (key == "scheduler" and value is None):
            yield from _class_problems(value, EXPECTED[key], f"{place}.{key}")


def _unknown_keys(keys: Any, cls: type, place: str) -> Iterator[str]:
    known = accepted_keys(cls)
    for key in keys:
        if key not in known:
            yield f"{place}: {cls.__name__} has no setting {key!r}.{nearest(key, known)}"
        elif key not in EXPECTED and isinstance(keys, dict) and keys[key] is None and not _may_be_null(cls, key):
            yield f"{place}.{key} must have a value, but is null. Leave it out for the default."


def _may_be_null(cls: type, key: str) -> bool:
    """Whether the annotation of an argument includes None, or is missing."""
    for ancestor in cls.__mro__:
        parameters = inspect.signature(vars(ancestor)["__init__"]).parameters if "__init__" in vars(ancestor) else {}
        if key in parameters:
            annotation = parameters[key].annotation
            # Python writes "Literal[...] | None" as Optional.
            words = str(annotation)
            return annotation in (inspect.Parameter.empty, Any) or "None" in words or "Optional" in words
    return True


def accepted_keys(cls: type) -> list[str]:
    """The arguments of a class that a config may set, including its parents' if it passes ``kwargs`` on."""
    keys: list[str] = []
    for ancestor in cls.__mro__:
        if "__init__" not in vars(ancestor):
            continue
        parameters = inspect.signature(vars(ancestor)["__init__"]).parameters
        keys += [name for name in parameters if name not in NOT_IN_CONFIGS and name not in keys]
        if "kwargs" not in parameters:
            break
    return [key for key in keys if cls is not Classifier or key not in FROM_THE_RUN]


def required_keys(cls: type) -> list[str]:
    """The arguments of a class that have no default."""
    parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    provided = (*NOT_IN_CONFIGS, "optimizer") if issubclass(cls, LRScheduler) else NOT_IN_CONFIGS
    return [p.name for p in parameters if p.default is p.empty and p.name not in provided]


def known_classes(base: type) -> dict[str, type]:
    """The concrete public subclasses of ``base``, by name."""
    found: dict[str, type] = {}
    pending = [base]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if not inspect.isabstract(cls) and not cls.__name__.startswith("_") and cls is not base:
            found[cls.__name__] = cls
    return found


def nearest(name: str, known: Iterable[str], *, before: str = "", after: str = "") -> str:
    """The known name that a misspelt one resembles, as a sentence that begins with a space; else all of them.

    Args:
        name: The misspelt name.
        known: The known names.
        before: What stands before the name where it was given, such as ``--pretrain.``.
        after: What stands behind it.

    Example:
        >>> nearest("epoch", ["batch_size", "epochs"], before="--pretrain.")
        ' Did you mean --pretrain.epochs?'
    """
    near = difflib.get_close_matches(str(name), known := list(known), n=1, cutoff=0.5)
    if near:
        return f" Did you mean {before}{near[0]}{after}?"
    return f" Known are {', '.join(sorted(known))}." if known else ""


def nearest_setting(
    name: str, *, option: str = "", place: str = "", after: str = "", known: Sequence[str] = TOP_LEVEL
) -> str:
    """As :func:`nearest`, for a name at the top: a setting of a group that has exactly this name is meant.

    Args:
        name: The name that is none.
        option: What an option begins with, ``--``; empty for keys of a config.
        place: What all keys of the network begin with, such as ``control.``.
        after: What stands behind the name where it was given.
        known: The names at the top.

    Example:
        >>> nearest_setting("patience", option="--")
        ' Did you mean --pretrain.patience or --finetune.patience?'
    """
    groups = {"data": DataModule, **GROUPS}
    inside = [f"{group}.{name}" for group, cls in groups.items() if group in known and name in accepted_keys(cls)]
    inside += ["classifier.optimizer.lr"] if name in ("lr", "learning_rate") else []
    if not inside:
        return nearest(name, known, before=option, after=after)
    return f" Did you mean {' or '.join(f'{option}{place}{key}' for key in inside)}?"
