"""``aepretrain export``: the encoder or the head of a finished run for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from torch import Tensor, nn

from aepretrain.cli.finished_run import FinishedRun, depth_of
from aepretrain.cli.own_options import parse_own
from aepretrain.cli.run_data import drawn_rows, raw_validation_rows
from aepretrain.console import print_line
from aepretrain.errors import ConfigError, DataError
from aepretrain.export.autoencoder import StackedAutoencoder, encoder_of
from aepretrain.export.decoders import has_decoders
from aepretrain.export.encoder import read_encoder_config
from aepretrain.export.formats import Exported, OutputName, choose_format, export_encoder
from aepretrain.export.module import Encoder
from aepretrain.export.onnx_file import check_packages
from aepretrain.results.statistics import r2
from aepretrain.training.recovery.signals import stop_at_signal

FLAGS = ("--head", "--with-preprocessing", "--quantize")
DRAWN = "rows drawn at random, since the data of the run cannot be read, or changed"
COMPARED = 256
"""Rows that the exported network and the original are compared on."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parsed = _parse(arguments)
    format = choose_format(parsed.out, parsed.format)
    if format == "onnx":
        check_packages()
    if parsed.input_type != "float32" and not parsed.with_preprocessing:
        raise ConfigError("--input-type is for raw values. Add --with-preprocessing, or leave it out.")
    finished = FinishedRun(Path(parsed.run).expanduser())
    network, output = _network(finished, parsed)
    with stop_at_signal(f"while {parsed.out} was written, which is not there yet"):
        rows = _rows(finished, parsed)
        exported = export_encoder(
            network,
            parsed.out,
            rows.raw[:COMPARED],
            format=format,
            preprocessing=parsed.with_preprocessing,
            quantize=parsed.quantize,
            output=output,
        )
        print_line(f"compared with the original: {exported.parity} ({rows.words})")
        if parsed.quantize:
            print_line(f"cost of 8 bits: {_cost(network, output, exported, rows, parsed.with_preprocessing)}")
    print_line(f"{output} as {format}  {parsed.out}")


@dataclass(frozen=True)
class _Rows:
    """Raw rows of the type that the network takes, their labels, and a phrase on what they are."""

    raw: Tensor
    y: Tensor | None
    words: str


def _parse(arguments: Sequence[str]) -> Namespace:
    keywords: dict[str, dict[str, Any]] = {
        "--out": {"required": True},
        "--format": {"type": str | None, "default": None},
        "--layer": {"type": int | None, "default": None},
        "--encoder": {"type": Literal["pretrained", "fine-tuned"]},
        "--input-type": {"type": Literal["float32", "uint8"]},
        **{name: {"action": "store_true"} for name in FLAGS},
    }
    return parse_own("export", arguments, "RUN --format NAME --out PATH", keywords)


def _network(finished: FinishedRun, parsed: Namespace) -> tuple[Encoder | StackedAutoencoder, OutputName]:
    """What is exported, and the name of its outputs."""
    if parsed.head:
        if parsed.layer is not None or parsed.encoder != "pretrained":
            raise ConfigError("--head has the layers that it was trained on. Leave --layer and --encoder out.")
        outputs = finished.outputs  # there is a head, or this has raised an error
        assert finished.classifier is not None
        return outputs, "probability" if finished.classifier.predicts_classes else "value"
    tuned = parsed.encoder == "fine-tuned"
    encoder = finished.fine_tuned if tuned else finished.encoder
    assert isinstance(encoder.layers, nn.Sequential)  # as a stack saves it
    depth = depth_of(encoder.layers, parsed.layer)
    decodes = not tuned and has_decoders(read_encoder_config(finished.folder / "encoder"))
    return (finished.autoencoder if decodes else encoder).lower(depth), "codes"


def _rows(finished: FinishedRun, parsed: Namespace) -> _Rows:
    try:
        found = raw_validation_rows(finished)
        raw, y, words = found.x[:], found.y, "validation rows of the run"
    except (ConfigError, DataError) as error:
        if parsed.quantize:
            raise ConfigError(f"--quantize measures what it costs on the data of the run, but {error}") from error
        raw, y, words = drawn_rows(finished), None, DRAWN
    if parsed.input_type == "uint8":
        raw = raw.round().clamp(0, 255).to(torch.uint8)
    return _Rows(raw, y, words)


@torch.no_grad()
def _cost(
    network: Encoder | StackedAutoencoder, output: OutputName, exported: Exported, rows: _Rows, raw_inputs: bool
) -> str:
    """What quantization costs on validation rows, in figures."""
    encoder = encoder_of(network)
    inputs = rows.raw if raw_inputs else encoder.preprocess(rows.raw)
    before, after = encoder(rows.raw), torch.cat([exported.network(part) for part in inputs.split(COMPARED)])
    count = f"on {len(inputs):,} validation rows"
    if isinstance(network, StackedAutoencoder):
        nats = [network.error(rows.raw, h).mean().item() for h in (before, after)]
        return f"reconstruction error {nats[1]:.4f} instead of {nats[0]:.4f} nats per row {count}"
    if rows.y is not None and output == "probability":
        shares = [(outputs.argmax(dim=1) == rows.y).double().mean().item() for outputs in (before, after)]
        return f"accuracy {shares[1]:.2%} instead of {shares[0]:.2%} {count}"
    if rows.y is not None and output == "value":
        shares = [r2(rows.y.double(), outputs.flatten().double()) for outputs in (before, after)]
        return f"R² {shares[1]:.4f} instead of {shares[0]:.4f} {count}"
    return f"root mean square difference {(before - after).square().mean().sqrt().item():.1e} {count}"
