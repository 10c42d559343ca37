"""The encoder to take home: a folder of plain values and weights, and the way back to a plain torch module."""

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

FORMAT = 1
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


def build(description: Mapping[str, Any]) -> nn.Module:
    """The module that :func:`describe` described, with fresh weights.

    Raises:
        StorageError: If the description names an unknown module or wrong arguments.
    """
    if not isinstance(description, Mapping) or "type" not in description:
        raise StorageError(f"an encoder's config must describe a module by its type, but has {description!r}.")
    name, arguments = description["type"], {key: value for key, value in description.items() if key != "type"}
    if name == "Sequential":
        modules = arguments.get("modules")
        if not isinstance(modules, list):
            raise StorageError("an encoder's config must list the modules of a Sequential, but does not.")
        return nn.Sequential(*(build(child) for child in modules))
    if name not in LAYERS:
        raise StorageError(f"an encoder is made of {', '.join(LAYERS)}, but its config names {name!r}.")
    try:
        return LAYERS[name](**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
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
    config = {
        "format": FORMAT,
        "in_shape": list(in_shape),
        "code_shape": code_shape,
        "architecture": architecture,
        "preprocessing": dict(preprocessing or {}),
        "provenance": dict(provenance or {}),
    }
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    # Not save_file, which lets nobody but the owner read what is to be handed over.
    (folder / "encoder.safetensors").write_bytes(safetensors.torch.save(tensors))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_facts(config, tensors), encoding="utf-8")
    return folder


def load_encoder(path: str | Path) -> nn.Module:
    """Read an encoder back as a plain torch module, with nothing of Lightning inside.

    Names, shapes and types of all tensors have to be those of the architecture: nothing is skipped, nothing is filled.

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
    encoder = build(config["architecture"])
    weights = folder / "encoder.safetensors"
    try:
        tensors = safetensors.torch.load_file(weights)
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"{weights} cannot be read: {error}. Copy the folder again from its run.") from error
    _check_tensors(encoder.state_dict(), tensors, weights)
    encoder.load_state_dict(tensors, strict=True)
    return encoder.eval()


def read_encoder_config(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of an encoder folder.

    Raises:
        StorageError: If it is missing, damaged or of another format.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read: {error}. Name the folder that a run calls encoder.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or "architecture" not in config:
        raise StorageError(f"{path} is not of encoder format {FORMAT}. Export it again.")
    return config


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
