"""Save an encoder as a folder of config and weights, and load it as a plain torch module."""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from aepretrain.data.named_transforms import TRANSFORMS
from aepretrain.data.transforms import NoTransform, Transform
from aepretrain.errors import StorageError
from aepretrain.export.architecture import build, describe
from aepretrain.export.card import TRANSFORM, model_card
from aepretrain.export.decoders import DECODERS, pack_decoders
from aepretrain.export.module import Encoder
from aepretrain.export.outliers import ValidationErrors
from aepretrain.export.places import is_remote, local_folder, upload
from aepretrain.export.tensors import read_tensors
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.results.records import shown
from aepretrain.storage.files import write_together
from aepretrain.storage.json_files import read_json

FORMAT = 2
DECISIVE = {
    1: ("in_shape", "code_shape", "architecture", "preprocessing"),
    2: ("format", "in_shape", "code_shape", "transform", "architecture", "columns", "classes"),
}
"""For each supported format, the config keys that the SHA-256 covers. Format 1 had no transform."""
CONFIG = 16 << 20
"""Maximum size in bytes of ``config.json``."""
SIDE = 1 << 31
"""Maximum size of a side of an input or a code."""


def save_encoder(
    encoder: nn.Module,
    path: str | Path,
    *,
    in_shape: tuple[int, ...],
    transform: Transform | None = None,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: str = "",
    provenance: Mapping[str, Any] | None = None,
    decoders: Sequence[tuple[nn.Module, Likelihood]] | None = None,
    validation_errors: ValidationErrors | None = None,
) -> Path:
    """Save an encoder as a folder with ``encoder.safetensors``, ``config.json`` and a ``README.md``.

    Decoders are saved in ``decoder.safetensors`` beside it. If they have a module or a likelihood that cannot be
    described, ``config.json`` says so instead.

    Args:
        encoder: The layers: plain torch modules, such as ``GreedyStack.encoder``.
        path: The folder, created if missing; or ``hf:owner/name``, an existing repository of Hugging Face.
        in_shape: Shape of one raw input, without the batch dimension.
        transform: The fitted transform of raw values, such as ``data.transform``; ``None`` for no transform.
        columns: Names of the feature columns, in order.
        classes: Names of the classes, in the order of their labels.
        preprocessing: Description of the preprocessing; empty for that of the transform.
        provenance: Origin of the weights: variants, data set, seed, metrics, versions.
        decoders: Decoder and likelihood of each layer, from the input up, such as ``GreedyStack.decoders``; ``None``:
            none are saved.
        validation_errors: Reconstruction errors of validation rows, saved with the decoders:
            :meth:`~aepretrain.export.autoencoder.StackedAutoencoder.threshold` finds outliers by them.

    Returns:
        The folder.

    Raises:
        ValueError: If the encoder has modules that cannot be described, or the transform is not fitted or of an
            unknown class. Nothing is written.
        StorageError: If a file cannot be written or uploaded. A full disk leaves a previous encoder unchanged.

    Example:
        >>> import tempfile
        >>> folder = save_encoder(nn.Linear(4, 2), tempfile.mkdtemp(), in_shape=(4,))
        >>> sorted(path.name for path in folder.iterdir())
        ['README.md', 'config.json', 'encoder.safetensors']
    """
    architecture = describe(encoder)
    transform = NoTransform() if transform is None else transform
    described = _describe_transform(transform)
    state = encoder.state_dict() | transform.state_dict(prefix=TRANSFORM)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with torch.no_grad():
        scaled = deepcopy(transform).cpu()(torch.zeros(1, *in_shape))
        code_shape = list(deepcopy(encoder).cpu().eval()(scaled).shape[1:])
    weights = safetensors.torch.save(tensors)
    config = {
        "format": FORMAT,
        "in_shape": list(in_shape),
        "code_shape": code_shape,
        "transform": described,
        "preprocessing": preprocessing or transform.words,
        "architecture": architecture,
        "columns": None if columns is None else list(columns),
        "classes": None if classes is None else list(classes),
        "provenance": dict(provenance or {}),
    }
    config["sha256"] = _digest(weights, config)
    config["decoder"], decoder_weights = (
        (None, None) if decoders is None else pack_decoders(decoders, validation_errors)
    )
    # Not save_file, whose files are readable by their owner alone.
    files = {
        "encoder.safetensors": weights,
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
        "README.md": model_card(config, tensors, str(path) if is_remote(path) else "encoder").encode(),
        **({} if decoder_weights is None else {DECODERS: decoder_weights}),
    }
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            write_together(Path(folder), files)
            upload(Path(folder), path)
    else:
        write_together(Path(path), files)
    return Path(path)


def load_encoder(path: str | Path, *, transform: bool = True) -> Encoder:
    """Load an encoder as a plain torch module, without Lightning.

    The module takes raw values, its method ``code`` takes scaled values, and ``layers`` holds the trained layers.

    Loading is strict: names, shapes and dtypes of all tensors must match the architecture, and the weights and the
    config keys in :data:`DECISIVE` must match the saved SHA-256.

    Args:
        path: The folder that :func:`save_encoder` wrote, such as ``encoder`` in a run directory;
            ``hf:owner/name[@revision]``, a repository of Hugging Face; or ``wandb:entity/project/name:alias``, an
            artifact of Weights & Biases.
        transform: Whether to include the saved transform; without it, the module takes scaled values.

    Returns:
        The encoder of raw values, ``(B, *in_shape) -> (B, *code_shape)``, on the CPU and in evaluation mode.

    Raises:
        StorageError: If a file is missing or damaged, the tensors do not match the architecture, or the download fails.

    Example:
        >>> import tempfile
        >>> folder = save_encoder(nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()), tempfile.mkdtemp(), in_shape=(4,))
        >>> load_encoder(folder)(torch.rand(3, 4)).shape
        torch.Size([3, 2])
    """
    with local_folder(path) as folder:
        return _load(folder, transform=transform)


def _load(folder: Path, *, transform: bool) -> Encoder:
    config = read_encoder_config(folder)
    columns, classes = (_names(config, key, folder / "config.json") for key in ("columns", "classes"))
    # Allocate nothing until the weights are known to match: a damaged config may name huge sizes.
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of layers of no units, whose tensors are compared below
        try:
            layers = build(config["architecture"]).eval()  # in training, BatchNorm refuses the single row of a check
        except StorageError as error:
            raise StorageError(f"{folder / 'config.json'}: {error}") from error
        before = _build_transform(config, folder / "config.json")
    path = folder / "encoder.safetensors"
    expected = layers.state_dict() | before.state_dict(prefix=TRANSFORM)
    weights, tensors = read_tensors(path, expected)
    if _digest(weights, config) != config["sha256"]:
        raise StorageError(f"{path} or its config.json is damaged or was changed. Copy the folder again from its run.")
    scaled_shape = before.out_shape(tuple(config["in_shape"]))
    _check_shapes(layers, scaled_shape, config, folder / "config.json")
    state = {name.removeprefix(TRANSFORM): tensors.pop(name) for name in list(tensors) if name.startswith(TRANSFORM)}
    layers.load_state_dict(tensors, strict=True, assign=True)
    layers.in_shape = scaled_shape  # type: ignore[assignment]
    before.load_state_dict(state, strict=True, assign=True)
    return Encoder(
        before if transform else NoTransform(),
        layers,
        config["in_shape"] if transform else scaled_shape,
        config["code_shape"],
        columns=columns,
        class_names=classes,
        preprocessing=str(config.get("preprocessing", "")) if transform else "",
        provenance=provenance if isinstance(provenance := config.get("provenance"), dict) else None,
    ).eval()


def read_encoder_config(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of an encoder folder.

    Raises:
        StorageError: If the file is missing, damaged or of an unsupported format.
    """
    path = folder / "config.json"
    config = read_json(path, "Name the folder that a run calls encoder.", most=CONFIG)
    needed = {"architecture", "in_shape", "code_shape", "sha256"}
    number = config.get("format") if isinstance(config, dict) else None
    supported = type(number) is int and number in DECISIVE
    if type(number) is int and number > max(DECISIVE):
        raise StorageError(
            f"{path} is of encoder format {number}, but this version reads formats up to {max(DECISIVE)}. "
            "Update aepretrain."
        )
    if not supported or not needed <= config.keys():
        raise StorageError(f"{path} is not of encoder format {' or '.join(map(str, DECISIVE))}. Export it again.")
    for name in ("in_shape", "code_shape"):
        shape = config[name]
        if not isinstance(shape, list) or not all(type(size) is int and 0 < size <= SIDE for size in shape):
            raise StorageError(f"{path}: {name} must be a list of sizes, but is {shown(shape)}. Export it again.")
    return config


def _digest(weights: bytes, config: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of the weights and of the config keys in :data:`DECISIVE`."""
    decisive = [config.get(key) for key in DECISIVE[config["format"]]]
    return hashlib.sha256(weights + json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _describe_transform(transform: Transform) -> dict[str, Any]:
    name = type(transform).__name__
    if TRANSFORMS.get(name) is not type(transform):
        raise ValueError(f"an encoder can be saved with a transform out of {', '.join(TRANSFORMS)}, but not {name}.")
    if not transform.is_fitted:
        raise ValueError(f"the transform {name} has not seen any training rows. Call fit(x), or data.splits(), first.")
    return {"type": name, **transform.arguments()}


def _build_transform(config: Mapping[str, Any], path: Path) -> Transform:
    """Build the transform that a config describes, with empty buffers to load values into."""
    if config["format"] == 1:
        return NoTransform()
    description = config.get("transform")
    name = description.get("type") if isinstance(description, Mapping) else None
    if not isinstance(description, Mapping) or not isinstance(name, str) or name not in TRANSFORMS:
        raise StorageError(
            f"{path} must name a transform out of {', '.join(TRANSFORMS)}, but has {shown(description)}."
        )
    try:
        arguments = {key: value for key, value in description.items() if key != "type"}
        return TRANSFORMS[name](**arguments).reserve(tuple(config["in_shape"]))
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError) as error:
        raise StorageError(f"{path}: the transform {name} does not fit: {' '.join(str(error).split())}") from error


def _names(config: Mapping[str, Any], key: str, path: Path) -> list[str] | None:
    names = config.get(key)
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise StorageError(f"{path}: {key} must be a list of names, but is {shown(names)}. Export the encoder again.")
    return names


def _check_shapes(encoder: nn.Module, scaled_shape: Sequence[int], config: Mapping[str, Any], path: Path) -> None:
    """Check input and code shapes against the config, with a forward pass on the meta device."""
    try:
        code_shape = encoder(torch.empty(1, *scaled_shape, device="meta")).shape[1:]
    # Whatever torch raises here is about the arguments of a layer, such as a division by a stride of 0.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{path}: the encoder cannot take its in_shape {list(scaled_shape)}: {reason}") from error
    if list(code_shape) != config["code_shape"]:
        raise StorageError(f"{path}: the code has the shape {list(code_shape)}, but code_shape is another.")
