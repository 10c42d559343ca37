"""Export of an encoder to a file or folder that other programs load, compared with the encoder before it is kept."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from aepretrain.data.table_transform import TableTransform
from aepretrain.errors import AEPretrainError, ConfigError
from aepretrain.export.autoencoder import StackedAutoencoder, encoder_of
from aepretrain.export.encoder import load_encoder
from aepretrain.export.int8 import quantize_onnx
from aepretrain.export.module import Encoder
from aepretrain.export.onnx_file import open_onnx, pack_onnx
from aepretrain.export.parity import Parity, compare_outputs
from aepretrain.export.places import is_remote
from aepretrain.export.pt2_file import open_pt2, pack_pt2
from aepretrain.export.safetensors_folder import write_folder
from aepretrain.storage.files import make_folder, write_atomically

FormatName = Literal["onnx", "pt2", "safetensors"]
"""A format of exported encoders; for all but ``safetensors`` also the ending of the file."""
OutputName = Literal["codes", "probability", "value"]
"""What an exported network computes: codes, the probability of each class, or values."""


@dataclass(frozen=True)
class FileFormat:
    """A format of one file.

    Args:
        pack: The bytes of the file, of an encoder, at least two inputs, and what describes inputs and outputs.
        open: The network of such bytes, as a function of its inputs.
        tolerance: Largest difference between the encoder and the network in the file, as a share of the largest output
            or of 1; 0: they must be bitwise equal.
    """

    pack: Callable[[Encoder, Tensor, Mapping[str, Any]], bytes]
    open: Callable[[bytes], Callable[[Tensor], Tensor]]
    tolerance: float


FILES: dict[str, FileFormat] = {
    "onnx": FileFormat(pack_onnx, open_onnx, 1e-5),
    "pt2": FileFormat(pack_pt2, open_pt2, 0.0),
}
"""The formats of one file. To add one, write its file and add its line here and to :data:`FormatName`."""


@dataclass(frozen=True)
class Exported:
    """An exported encoder.

    Args:
        path: The file or folder.
        network: What it computes, as a function of its inputs ``(B, ...)``.
        parity: How far that is from the encoder; with ``quantize``, that is no error of the export.
    """

    path: Path
    network: Callable[[Tensor], Tensor]
    parity: Parity


def export_encoder(
    network: Encoder | StackedAutoencoder,
    path: str | Path,
    rows: Tensor,
    *,
    format: FormatName | None = None,
    preprocessing: bool = False,
    quantize: bool = False,
    output: OutputName = "codes",
) -> Exported:
    """Export an encoder as ``.onnx``, ``.pt2`` or a safetensors folder, and compare it with the encoder on rows.

    A file appears only if it is complete and agrees with the encoder: bitwise (``pt2``, ``safetensors``), or within
    1e-5 of the largest code or of 1 (``onnx``).

    Args:
        network: What :func:`~aepretrain.export.encoder.load_encoder` or
            :func:`~aepretrain.export.autoencoder.load_autoencoder` loaded. Decoders are kept by ``safetensors`` alone.
        path: The file or folder, or ``hf:owner/name``. An existing file is replaced, a folder must be new or empty.
        rows: Raw rows to compare on, ``(N, *in_shape)``, at least one. With preprocessing, uint8 rows make a network of
            uint8 inputs; all others make one of float32.
        format: The format; ``None``: that of the ending of ``path``, without ending ``safetensors``.
        preprocessing: Whether the network takes raw values, not scaled ones. ``safetensors`` always has both.
        quantize: Whether linear layers get 8-bit weights (``onnx``).
        output: Name of the outputs.

    Returns:
        The file or folder, its network, and how far that is from the encoder.

    Raises:
        ConfigError: If the format is unknown, does not fit the ending or the options, lacks packages, or the folder
            holds files.
        AEPretrainError: If the exported network disagrees with the encoder. No file is written.
        StorageError: If the file cannot be written; a previous one is kept.

    Example:
        >>> import tempfile
        >>> encoder = Encoder(Scale(255), nn.Sequential(nn.Linear(4, 2), nn.Sigmoid()), (4,), (2,))
        >>> path = Path(tempfile.mkdtemp()) / "encoder.pt2"
        >>> print(export_encoder(encoder, path, 255 * torch.rand(50, 4), preprocessing=True).parity)
        bitwise equal on 50 rows, in batches of 1, 2, 7 and 50
        >>> torch.export.load(path).module()(torch.rand(3, 4)).shape
        torch.Size([3, 2])
    """
    format = choose_format(path, format)
    if quantize and format != "onnx":
        raise ConfigError(f"quantization is for --format onnx, but the format is {format}. Leave --quantize out.")
    if is_remote(path) and format != "safetensors":
        raise ConfigError(f"{path} takes the folder of --format safetensors alone. Name a file for {format}.")
    encoder = encoder_of(network)
    encoder = deepcopy(encoder).cpu().eval().requires_grad_(False)
    rows = rows if rows.dtype == torch.uint8 else rows.float()
    if format == "safetensors":
        write_folder(network, path)
        loaded = load_encoder(path)
        return Exported(Path(path), loaded, _checked(compare_outputs(encoder, loaded, rows), 0.0, path))
    if not preprocessing:
        rows, encoder = encoder.preprocess(rows), encoder.without_transform()
    kind = FILES[format]
    example = torch.zeros(2, *rows.shape[1:], dtype=rows.dtype)  # not the user's rows, since a .pt2 file holds it
    data = kind.pack(encoder, example, describe_network(network, output, preprocessing, rows.dtype))
    data = quantize_onnx(data) if quantize else data
    exported = kind.open(data)
    parity = compare_outputs(encoder, exported, rows)
    if not quantize:
        _checked(parity, kind.tolerance, path)
    make_folder(Path(path).parent)
    write_atomically(Path(path), data)
    return Exported(Path(path), exported, parity)


def choose_format(path: str | Path, format: str | None) -> FormatName:
    """The format of an exported encoder, by its name or the ending of the file.

    Raises:
        ConfigError: If there is no such format, or the ending is that of another.

    Example:
        >>> choose_format("codes.onnx", None), choose_format("encoder", None), choose_format("a.model", "pt2")
        ('onnx', 'safetensors', 'pt2')
    """
    ending = Path(path).suffix.removeprefix(".")
    known = get_args(FormatName)
    if format is not None and format not in known:
        raise ConfigError(f"--format must be one of {', '.join(known)}, but is {format!r}.")
    found = format or (ending if ending in known else "safetensors")
    if ending in FILES and ending != found:
        raise ConfigError(f"--out ends in .{ending}, but --format is {found}. Rename the file, or leave --format out.")
    return found  # type: ignore[return-value]


def describe_network(
    network: Encoder | StackedAutoencoder, output: OutputName, preprocessing: bool, dtype: torch.dtype
) -> dict[str, Any]:
    """What describes the inputs and outputs of an exported encoder, in plain values: the metadata of its file."""
    encoder = encoder_of(network)
    transform, columns = encoder.transform, encoder.columns or []
    taken: Any = transform.names_out(columns) or None
    if preprocessing:
        taken = transform.arguments()["columns"] if isinstance(transform, TableTransform) else encoder.columns
    return {
        "input": "raw values" if preprocessing else "scaled values",
        "type": str(dtype).removeprefix("torch."),
        "in_shape": list(encoder.in_shape if preprocessing else encoder.scaled_shape),
        "columns": taken,
        "preprocessing": encoder.preprocessing,
        "output": output,
        "code_shape": list(encoder.code_shape),
        "classes": encoder.class_names if output == "probability" else None,
        "provenance": encoder.provenance,
    }


def _checked(parity: Parity, tolerance: float, path: str | Path) -> Parity:
    if not parity.within(tolerance):
        raise AEPretrainError(
            f"{path}: the exported network differs from the encoder by {parity.largest:.1e}, but at most "
            f"{tolerance * parity.scale:.0e} is allowed. Take another format."
        )
    return parity
