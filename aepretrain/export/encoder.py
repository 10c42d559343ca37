"""The encoder to take home: a folder of plain values and weights, and the way back to a plain torch module."""

import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from aepretrain.errors import StorageError
from aepretrain.storage.files import write_together

FORMAT = 1
MOST_NESTED = 32
LAYERS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        nn.Linear,
        nn.Flatten,
        nn.Sigmoid,
        nn.Tanh,
        nn.ReLU,
        nn.LeakyReLU,
        nn.ELU,
        nn.Softplus,
        nn.SiLU,
        nn.GELU,
        nn.Identity,
    )
}
"""The modules that an encoder may be made of: each is described by its constructor's arguments."""


def describe(module: nn.Module) -> dict[str, Any]:
    """The architecture of a module in plain values.

    Args:
        module: An ``nn.Sequential`` of the modules in :data:`LAYERS`, nested as one likes.

    Raises:
        ValueError: If a module is of another kind.

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
    """The module that :func:`describe` described, with fresh weights.

    Args:
        description: Plain values.
        depth: In how many Sequentials it lies.

    Raises:
        StorageError: If the description names an unknown module or wrong arguments, or nests without end.
    """
    if depth > MOST_NESTED:
        raise StorageError(f"an encoder's config nests modules more than {MOST_NESTED} deep. Export it again.")
    if not isinstance(description, Mapping) or "type" not in description:
        raise StorageError(f"an encoder's config must describe a module by its type, but has {description!r}.")
    name, arguments = description["type"], {key: value for key, value in description.items() if key != "type"}
    if name == "Sequential":
        modules = arguments.get("modules")
        if not isinstance(modules, list):
            raise StorageError("an encoder's config must list the modules of a Sequential, but does not.")
        return nn.Sequential(*(build(child, depth=depth + 1) for child in modules))
    if not isinstance(name, str) or name not in LAYERS:
        raise StorageError(f"an encoder is made of {', '.join(LAYERS)}, but its config names {name!r}.")
    try:
        return LAYERS[name](**arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise StorageError(f"the config of a {name} does not fit: {' '.join(str(error).split())}") from error


def save_encoder(
    encoder: nn.Module,
    path: str | Path,
    *,
    in_shape: tuple[int, ...],
    preprocessing: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write an encoder as a folder: ``encoder.safetensors``, ``config.json`` and a ``README.md`` of facts.

    Args:
        encoder: Plain torch modules, as ``GreedyStack.encoder`` gives them.
        path: The folder; it is made.
        in_shape: Shape of one input, without the batch dimension.
        preprocessing: What was done to the raw values.
        provenance: Where the weights come from: variants, data set, seed, metrics, versions.

    Returns:
        The folder.

    Raises:
        ValueError: If the encoder has modules that cannot be described; nothing is written then.
        StorageError: If a file cannot be written; the encoder that was there before is as it was.

    Example:
        >>> import tempfile
        >>> folder = save_encoder(nn.Linear(4, 2), tempfile.mkdtemp(), in_shape=(4,))
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'config.json', 'encoder.safetensors']
    """
    architecture = describe(encoder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    with torch.no_grad():
        code_shape = list(deepcopy(encoder).cpu().eval()(torch.zeros(1, *in_shape)).shape[1:])
    weights = safetensors.torch.save(tensors)
    config = {
        "format": FORMAT,
        "in_shape": list(in_shape),
        "code_shape": code_shape,
        "architecture": architecture,
        "preprocessing": dict(preprocessing or {}),
        "provenance": dict(provenance or {}),
    }
    config["sha256"] = _digest(weights, config)
    # Not save_file, which lets nobody but the owner read what is to be handed over.
    files = {
        "encoder.safetensors": weights,
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        "README.md": _facts(config, tensors).encode(),
    }
    write_together(Path(path), files)
    return Path(path)


def load_encoder(path: str | Path) -> nn.Module:
    """Read an encoder back as a plain torch module, with nothing of Lightning inside.

    Names, shapes and types of all tensors have to be those of the architecture, and every byte of the weights has to be
    what was written: nothing is skipped, nothing is filled.

    Args:
        path: The folder that :func:`save_encoder` wrote: ``encoder`` in a run directory.

    Returns:
        The encoder ``(B, *in_shape) -> (B, *code_shape)``, on the CPU and in evaluation mode.

    Raises:
        StorageError: If a file is missing or damaged, or the tensors are not those of the architecture.

    Example:
        >>> import tempfile
        >>> folder = save_encoder(nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()), tempfile.mkdtemp(), in_shape=(4,))
        >>> load_encoder(folder)(torch.rand(3, 4)).shape
        torch.Size([3, 2])
    """
    folder = Path(path)
    config = read_encoder_config(folder)
    # Without memory until the weights are known to fit: a damaged size asks for none.
    with torch.device("meta"):
        encoder = build(config["architecture"])
    path = folder / "encoder.safetensors"
    try:
        weights = path.read_bytes()
        tensors = safetensors.torch.load(weights)
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"{path} cannot be read: {error}. Copy the folder again from its run.") from error
    _check_tensors(encoder.state_dict(), tensors, path)
    if _digest(weights, config) != config["sha256"]:
        raise StorageError(f"{path} or its config.json is damaged or was changed. Copy the folder again from its run.")
    _check_shapes(encoder, config, folder / "config.json")
    encoder.load_state_dict(tensors, strict=True, assign=True)
    return encoder.eval()


def read_encoder_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of an encoder folder.

    Raises:
        StorageError: If it is missing, damaged or of another format.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"{path} cannot be read: {error}. Name the folder that a run calls encoder.") from error
    needed = {"architecture", "in_shape", "code_shape", "sha256"}
    if not isinstance(config, dict) or config.get("format") != FORMAT or not needed <= config.keys():
        raise StorageError(f"{path} is not of encoder format {FORMAT}. Export it again.")
    return config


def _digest(weights: bytes, config: Mapping[str, Any]) -> str:
    """A fingerprint of all that decides a code: the weights, the architecture and what its inputs have to be."""
    decisive = [config.get(key) for key in ("in_shape", "code_shape", "architecture", "preprocessing")]
    return hashlib.sha256(weights + json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _check_shapes(encoder: nn.Module, config: Mapping[str, Any], path: Path) -> None:
    """Run the architecture without memory: it must take and give the shapes that the config names."""
    try:
        code_shape = encoder(torch.empty(1, *config["in_shape"], device="meta")).shape[1:]
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{path}: the encoder cannot take its in_shape {config['in_shape']}: {reason}") from error
    if list(code_shape) != config["code_shape"]:
        raise StorageError(f"{path}: the code has the shape {list(code_shape)}, but code_shape is another.")


def _check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            place = "missing from" if name not in found else "unexpected in"
            raise StorageError(f"{path}: the tensor {name} is {place} the file. It belongs to another architecture.")
        ours, theirs = expected[name], found[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise StorageError(
                f"{path}: the tensor {name} must be {tuple(ours.shape)} {ours.dtype}, but is {tuple(theirs.shape)} "
                f"{theirs.dtype}. It belongs to another architecture."
            )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested facts as one level of rows: ``versions: torch``."""
    rows: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{prefix}{key}: ")
        else:
            rows[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return rows


def _facts(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    parameters = sum(tensor.numel() for tensor in tensors.values())
    rows = {
        "input": f"{tuple(config['in_shape'])}, float32, {math.prod(config['in_shape'])} values",
        "output": f"{tuple(config['code_shape'])}, float32",
        "parameters": f"{parameters:,}",
        **{f"preprocessing: {key}": value for key, value in config["preprocessing"].items()},
        **_flat(config["provenance"]),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""# An encoder, pretrained layer by layer

| | |
|---|---|
{table}

```python
import aepretrain

encoder = aepretrain.load_encoder("encoder")  # a plain torch.nn.Module
codes = encoder(x)  # x: (B, {", ".join(map(str, config["in_shape"]))}), preprocessed as above
```

`config.json` holds the architecture and the provenance in plain values, `encoder.safetensors` the weights.
"""
