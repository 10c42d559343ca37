"""The decoders of a stack, saved beside its encoder."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from aepretrain.errors import StorageError
from aepretrain.export.architecture import build, describe
from aepretrain.export.outliers import MOST, ValidationErrors
from aepretrain.export.tensors import read_tensors
from aepretrain.parts.convolution import TransposedConvolution
from aepretrain.parts.dense import Transposed
from aepretrain.parts.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood, Mixed
from aepretrain.results.records import shown

DECODERS = "decoder.safetensors"
"""The file of the weights of all decoders."""
ERRORS = "validation_errors"
"""Name of the tensor of the errors of validation rows, beside these weights."""
LIKELIHOODS: dict[str, type[Likelihood]] = {cls.__name__: cls for cls in (Gaussian, Bernoulli, Categorical, Mixed)}
"""The likelihoods that a saved decoder may have."""


def pack_decoders(
    decoders: Sequence[tuple[nn.Module, Likelihood]], validation_errors: ValidationErrors | None = None
) -> tuple[dict[str, Any], bytes | None]:
    """Describe decoders in plain values, and serialize their weights.

    Args:
        decoders: Decoder and likelihood of each layer, from the input up.
        validation_errors: Reconstruction errors of validation rows; ``None``: unknown.

    Returns:
        The description, and the weights as safetensors; the reason and ``None`` if a decoder cannot be described.

    Example:
        >>> described, weights = pack_decoders([(nn.Linear(2, 4), Bernoulli())])
        >>> described["layers"][0]["likelihood"]
        {'type': 'Bernoulli'}
        >>> pack_decoders([(nn.LayerNorm(2), Gaussian())])[0]["left_out"][:40]
        'a decoder can be saved if it is made of '
    """
    modules = nn.ModuleList(_untied(decoder) for decoder, _ in decoders)
    try:
        layers = [
            {"architecture": describe(module), "likelihood": _describe_likelihood(likelihood)}
            for module, (_, likelihood) in zip(modules, decoders, strict=True)
        ]
    except ValueError as error:
        return {"left_out": str(error).replace("an encoder", "a decoder")}, None
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in modules.state_dict().items()}
    rows = None if validation_errors is None else validation_errors.rows
    if validation_errors is not None:
        tensors[ERRORS] = validation_errors.tensor()
    weights = safetensors.torch.save(tensors)
    return {"layers": layers, "validation_rows": rows, "sha256": _digest(weights, layers, rows)}, weights


def has_decoders(config: Mapping[str, Any]) -> bool:
    """Whether the ``config.json`` of an encoder describes decoders."""
    return isinstance(config.get("decoder"), Mapping) and "layers" in config["decoder"]


def load_decoders(
    folder: Path, config: Mapping[str, Any]
) -> tuple[nn.ModuleList, list[Likelihood], ValidationErrors | None]:
    """Load the decoders beside an encoder, as strictly as the encoder.

    Args:
        folder: The folder of the encoder.
        config: Its ``config.json``.

    Returns:
        The decoders and their likelihoods, from the input up, and the saved errors of validation rows, if there are.

    Raises:
        StorageError: If there are none, a file is damaged, or tensors do not match the architecture.
    """
    place = folder / "config.json"
    if not has_decoders(config):
        found = config.get("decoder")
        reason = f": {found['left_out']}" if isinstance(found, Mapping) and "left_out" in found else "."
        raise StorageError(f"{folder} holds an encoder without decoders{reason} Take load_encoder, or a run of fit.")
    described = config["decoder"]["layers"]
    if not isinstance(described, list) or not described or not all(isinstance(each, Mapping) for each in described):
        raise StorageError(f"{place}: decoder.layers must list decoders, but is {shown(described)}. Export it again.")
    with torch.device("meta"):
        modules = nn.ModuleList(build(each.get("architecture", {})) for each in described)
    likelihoods = [_build_likelihood(each.get("likelihood"), place) for each in described]
    path = folder / DECODERS
    rows = config["decoder"].get("validation_rows")
    if rows is not None and not (type(rows) is int and rows > 0):
        raise StorageError(f"{place}: decoder.validation_rows must be a number, but is {shown(rows)}. Export it again.")
    errors = {} if rows is None else {ERRORS: torch.empty(min(rows, MOST), dtype=torch.float64, device="meta")}
    weights, tensors = read_tensors(path, modules.state_dict() | errors)
    if _digest(weights, described, rows) != config["decoder"].get("sha256"):
        raise StorageError(f"{path} or its config.json is damaged or was changed. Copy the folder again from its run.")
    found = None if rows is None else _restore_errors(rows, tensors.pop(ERRORS), path)
    modules.load_state_dict(tensors, strict=True, assign=True)
    return modules, likelihoods, found


def _restore_errors(rows: int, errors: Tensor, path: Path) -> ValidationErrors:
    try:
        return ValidationErrors.restore(rows, errors)
    except ValueError as error:
        raise StorageError(f"{path}: {error} Export it again.") from error


def _untied(module: nn.Module) -> nn.Module:
    """The module with maps of their own in place of those that share the weights of an encoder."""
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*map(_untied, module))
    return module.untied() if isinstance(module, Transposed | TransposedConvolution) else module


def _describe_likelihood(likelihood: Likelihood) -> dict[str, Any]:
    name = type(likelihood).__name__
    if LIKELIHOODS.get(name) is not type(likelihood):
        raise ValueError(f"a decoder can be saved with a likelihood out of {', '.join(LIKELIHOODS)}, but not {name}.")
    return {"type": name, **asdict(likelihood)}  # type: ignore[call-overload]


def _build_likelihood(described: Any, place: Path) -> Likelihood:
    name = described.get("type") if isinstance(described, Mapping) else None
    if not isinstance(name, str) or name not in LIKELIHOODS:
        raise StorageError(
            f"{place} must name a likelihood out of {', '.join(LIKELIHOODS)}, but has {shown(described)}. Export it "
            "again."
        )
    try:
        return LIKELIHOODS[name](**{key: value for key, value in described.items() if key != "type"})
    except (TypeError, ValueError) as error:
        raise StorageError(f"{place}: the likelihood {name} does not fit: {' '.join(str(error).split())}") from error


def _digest(weights: bytes, layers: Any, rows: int | None) -> str:
    """The SHA-256 of all that decides what decoders give; folders written earlier have no validation rows."""
    decisive = layers if rows is None else [layers, rows]
    return hashlib.sha256(weights + json.dumps(decisive, sort_keys=True).encode()).hexdigest()
