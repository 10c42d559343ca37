"""What a finished run says of each row: codes, reconstruction error, prediction."""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepretrain.data.rows import Inputs, in_order
from aepretrain.data.transforms import NoTransform, Transform
from aepretrain.errors import ConfigError
from aepretrain.export.autoencoder import StackedAutoencoder
from aepretrain.export.module import Encoder
from aepretrain.export.outliers import CONTAMINATION, ValidationErrors
from aepretrain.heads import Head
from aepretrain.pretraining.encoding import ENCODING_BATCH, ENCODING_BYTES, MIN_BATCH
from aepretrain.pretraining.stack import GreedyStack

OutputName = Literal[
    "codes", "error", "error_per_feature", "outlier", "reconstruction", "prediction", "probability", "value"
]
"""A value of each row."""
BY_CLASSIFIER = ("prediction", "probability", "value")
BY_DECODER = ("error", "error_per_feature", "outlier", "reconstruction")


@dataclass(frozen=True)
class RowOutputs:
    """Computes the values of rows, piece by piece, in full precision and without noise.

    Args:
        names: Names of the values: ``codes`` are those of the chosen layer; ``error`` is the reconstruction loss
            through all layers up to it, in nats per row under the likelihood of the first layer, and
            ``error_per_feature`` its parts; ``outlier`` says whether it exceeds the threshold; ``reconstruction`` is
            the expected input in raw units; ``prediction`` is the name of the class, ``probability`` that of each
            class; ``value`` is the predicted real target.
        transform: The transform of raw values, as the run fitted it.
        layers: The encoders, from the input up.
        autoencoder: The same layers with their decoders; needed for errors and reconstructions.
        classifier: The head, needed for predictions and values.
        class_names: Names of the classes, by label; ``None``: predictions are labels.
        contamination: Share of rows like the validation rows that may be called outliers.
        device: Device that computes.

    Raises:
        ConfigError: If a value is unknown, or what computes it is missing.

    Example:
        >>> from aepretrain.data.transforms import Scale
        >>> values = RowOutputs(["codes"], Scale(16), nn.Sequential(nn.Linear(4, 2)))
        >>> [piece["codes"].shape for piece in values.of(torch.rand(5, 4))]
        [(5, 2)]
    """

    names: Sequence[OutputName]
    transform: Transform
    layers: nn.Module
    autoencoder: StackedAutoencoder | None = None
    classifier: Head | None = None
    class_names: Sequence[str] | None = None
    contamination: float = CONTAMINATION
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in get_args(OutputName):
                raise ConfigError(f"{name!r} is no value of a row. Choose from {', '.join(get_args(OutputName))}.")
            if name in BY_CLASSIFIER and self.classifier is None:
                raise ConfigError(f"{name} needs a classifier or regressor, but the run trained none. Leave it out.")
            if name in BY_CLASSIFIER and self.classifier and (name == "value") == self.classifier.predicts_classes:
                has, other = ("classes", "prediction") if name == "value" else ("a real target", "value")
                raise ConfigError(f"{name} is not known of {has}, on which the run was trained. Name {other} instead.")
            if name in BY_DECODER and self.autoencoder is None:
                raise ConfigError(f"{name} needs decoders, but this run has none. Leave it out.")
        if "outlier" in self.names and self.autoencoder is not None:
            self.autoencoder.threshold(self.contamination)

    def of(self, x: Inputs) -> Iterator[dict[str, NDArray[Any]]]:
        """The values of raw rows ``(N, *in_shape)``, in order: a piece holds an array ``(n, ...)`` for each name."""
        for module in (self.transform, self.layers, self.autoencoder, self.classifier):
            if module is not None:
                module.eval().to(self.device)
        row_bytes = x.shape[1:].numel() * 4
        for raw in in_order(x, max(MIN_BATCH, min(ENCODING_BATCH, ENCODING_BYTES // row_bytes))):
            with torch.no_grad():
                yield self._values(self.transform(raw.to(self.device)))

    def _values(self, x: Tensor) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        h = self.layers(x)
        if "codes" in self.names:
            found["codes"] = h.cpu().numpy()
        if any(name in BY_DECODER for name in self.names):
            found |= self._decoded(x, h)
        if any(name in BY_CLASSIFIER for name in self.names):
            found |= self._classified(x)
        return {name: found[name] for name in self.names}

    def _decoded(self, x: Tensor, h: Tensor) -> dict[str, NDArray[Any]]:
        assert self.autoencoder is not None
        threshold = self.autoencoder.threshold(self.contamination) if "outlier" in self.names else math.inf
        L, y = self.autoencoder.likelihood, self.autoencoder.outputs(h)
        compute = {
            "error": lambda: L(x, y),
            "error_per_feature": lambda: L.per_feature(x, y),
            "outlier": lambda: L(x, y) > threshold,
            "reconstruction": lambda: self.transform.inverse(L.mean(y)),
        }
        return {name: value().cpu().numpy() for name, value in compute.items() if name in self.names}

    def _classified(self, x: Tensor) -> dict[str, NDArray[Any]]:
        assert self.classifier is not None
        if "value" in self.names:
            return {"value": self.classifier(x).squeeze(1).cpu().numpy()}
        probability = self.classifier(x).float().softmax(dim=1).cpu().numpy()
        label = probability.argmax(axis=1)
        return {
            "prediction": label if self.class_names is None else np.array(self.class_names)[label],
            "probability": probability,
        }


def validation_errors(stack: GreedyStack, x: Inputs) -> ValidationErrors | None:
    """The reconstruction errors of scaled validation rows through all layers; ``None`` if a layer has no decoder.

    Args:
        stack: The trained stack.
        x: The validation rows, shape ``(N, *in_shape)``.

    Example:
        >>> stack = GreedyStack((4,), [lambda s: PlainAutoencoder(s, Dense(2))])
        >>> validation_errors(stack, torch.rand(30, 4)).rows
        30
    """
    if (decoders := deepcopy(stack.decoders)) is None:
        return None
    encoder = Encoder(NoTransform(), stack.encoder, stack.in_shape, stack.code_shape)
    autoencoder = StackedAutoencoder(encoder, *zip(*decoders, strict=True))
    outputs = RowOutputs(["error"], encoder.transform, encoder.layers, autoencoder=autoencoder)
    errors = torch.cat([torch.from_numpy(piece["error"]) for piece in outputs.of(x)])
    return ValidationErrors.of(errors) if errors.isfinite().all() else None
