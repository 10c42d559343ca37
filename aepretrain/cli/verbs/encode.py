"""``aepretrain encode``: codes of any rows, from the encoder of a finished run."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace
from torch import nn

from aepretrain.cli.finished_run import FinishedRun, depth_of, write_outputs
from aepretrain.cli.own_options import parse_own
from aepretrain.console import print_line
from aepretrain.errors import ConfigError
from aepretrain.export.outliers import CONTAMINATION
from aepretrain.export.row_files import check_format
from aepretrain.runs.row_outputs import BY_CLASSIFIER, BY_DECODER, OutputName, RowOutputs

ADDED: tuple[OutputName, ...] = ("error", "prediction", "probability", "value", "reconstruction")


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parsed = _parse(arguments)
    out = Path(parsed.out).expanduser()
    check_format(out)
    names = _names(parsed)
    if out.suffix == ".npy" and len(names) > 1:
        more = ", ".join(names[1:])
        raise ConfigError(f"a .npy file holds the codes alone, not {more} as well. Let --out end in .npz.")
    finished = FinishedRun(Path(parsed.run).expanduser())
    outputs = _outputs(finished, names, parsed)
    if "outlier" in names:
        limit, errors = finished.autoencoder.threshold(outputs.contamination), finished.autoencoder.validation_errors
        assert errors is not None
        print_line(f"outlier: an error above {limit:.6g} nats, found on {errors.rows:,} validation rows of the run")
    write_outputs(outputs, finished.open(Path(parsed.data)), out, _columns(finished))


def _parse(arguments: Sequence[str]) -> Namespace:
    keywords: dict[str, dict[str, Any]] = {
        "--data": {"required": True},
        "--out": {"required": True},
        "--layer": {"type": int | None, "default": None},
        "--add": {"default": ""},
        "--per-feature": {"action": "store_true"},
        "--contamination": {"type": float | None, "default": None},
        "--encoder": {"type": Literal["pretrained", "fine-tuned"]},
    }
    return parse_own("encode", arguments, "RUN --data PATH --out FILE", keywords)


def _names(parsed: Namespace) -> list[OutputName]:
    """The outputs that are asked for: codes first."""
    added = [name.strip() for name in parsed.add.split(",") if name.strip()]
    if unknown := [name for name in added if name not in ADDED]:
        raise ConfigError(f"--add takes {', '.join(ADDED)}, but got {unknown[0]!r}. Separate them by commas.")
    asked = {"outlier": parsed.contamination is not None, "error_per_feature": parsed.per_feature}
    more: list[OutputName] = [name for name in ("outlier", "error_per_feature") if asked[name]]
    return ["codes", *(name for name in ADDED if name in added), *more]


def _columns(finished: FinishedRun) -> dict[str, list[str]]:
    """Names of the columns of a table for outputs that have one for each feature or class."""
    encoder = finished.encoder
    classes, features = encoder.class_names or [], encoder.columns or []
    if len(features) != math.prod(encoder.in_shape):  # a column of lists holds several features
        features = []
    return {
        "error_per_feature": [f"error_{name}" for name in encoder.transform.names_out(features)],
        "reconstruction": [f"reconstruction_{name}" for name in features],
        "probability": [f"probability_{name}" for name in classes],
    }


def _outputs(finished: FinishedRun, names: Sequence[OutputName], parsed: Namespace) -> RowOutputs:
    decodes, classifies = (any(name in kind for name in names) for kind in (BY_DECODER, BY_CLASSIFIER))
    if decodes and parsed.encoder == "fine-tuned":
        raise ConfigError(
            "errors and reconstructions need the decoders, which belong to the pretrained encoder. Leave --encoder out."
        )
    encoder = finished.fine_tuned if parsed.encoder == "fine-tuned" else finished.encoder
    layers = encoder.layers
    assert isinstance(layers, nn.Sequential)  # as a stack saves it
    depth = depth_of(layers, parsed.layer)
    if "outlier" in names and depth < len(layers):
        raise ConfigError("--contamination is for the errors of all layers, but --layer names one. Leave --layer out.")
    return RowOutputs(
        names,
        encoder.transform,
        layers[:depth],
        autoencoder=finished.autoencoder.lower(depth) if decodes else None,
        classifier=finished.classifier if classifies else None,
        class_names=encoder.class_names,
        contamination=CONTAMINATION if parsed.contamination is None else parsed.contamination,
        device=parsed.device,
    )
