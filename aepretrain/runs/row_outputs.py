"""What a finished run says of each row: codes, reconstruction error, prediction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aepretrain.data.rows import Inputs, in_order
from aepretrain.data.transforms import Transform
from aepretrain.errors import ConfigError
from aepretrain.heads import Classifier
from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.layers.base import Layer
from aepretrain.pretraining.encoding import ENCODING_BATCH, ENCODING_BYTES, MIN_BATCH
from aepretrain.pretraining.stack import GreedyStack

OutputName = Literal["codes", "error", "error_per_feature", "reconstruction", "prediction", "probability"]
"""A value of each row."""
BY_CLASSIFIER = ("prediction", "probability")
BY_DECODER = ("error", "error_per_feature", "reconstruction")


@dataclass(frozen=True)
class RowOutputs:
    """Computes the values of rows, piece by piece, in full precision and without noise.

    Args:
        names: Names of the values: ``codes`` are those of the chosen layer; ``error`` is the reconstruction loss
            through all layers up to it, in nats per row under the likelihood of the first layer, and
            ``error_per_feature`` its parts; ``reconstruction`` is the expected input in raw units; ``prediction``
            is the name of the class, ``probability`` that of each class.
        transform: The transform of raw values, as the run fitted it.
        layers: The encoders, from the input up.
        stack: The layers with their decoders; needed for errors and reconstructions.
        classifier: Needed for predictions.
        class_names: Names of the classes, by label; ``None``: predictions are labels.
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
    stack: GreedyStack | None = None
    classifier: Classifier | None = None
    class_names: Sequence[str] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in get_args(OutputName):
                raise ConfigError(f"{name!r} is no value of a row. Choose from {', '.join(get_args(OutputName))}.")
            if name in BY_CLASSIFIER and self.classifier is None:
                raise ConfigError(f"{name} needs a classifier, but the run trained none. Leave it out.")
            if name in BY_DECODER and not self._can_decode():
                raise ConfigError(f"{name} needs decoders, but a layer of this run has none. Leave it out.")

    def of(self, x: Inputs) -> Iterator[dict[str, NDArray[Any]]]:
        """The values of raw rows ``(N, *in_shape)``, in order: a piece holds an array ``(n, ...)`` for each name."""
        for module in (self.transform, self.layers, self.stack, self.classifier):
            if module is not None:
                module.eval().to(self.device)
        row_bytes = x.shape[1:].numel() * 4
        for raw in in_order(x, max(MIN_BATCH, min(ENCODING_BATCH, ENCODING_BYTES // row_bytes))):
            with torch.no_grad():
                yield self._values(self.transform(raw.to(self.device)))

    def _can_decode(self) -> bool:
        layers = self._decoding()
        return bool(layers) and all(isinstance(layer, Autoencoder) for layer in layers)

    def _decoding(self) -> list[Layer]:
        """The layers to decode with: as many as encode."""
        depth = len(self.layers) if isinstance(self.layers, nn.Sequential) else 1
        return [] if self.stack is None else list(self.stack)[:depth]

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
        first, *above = (layer for layer in self._decoding() if isinstance(layer, Autoencoder))
        for layer in reversed(above):
            h = layer.decode(h)
        y = first.g(h)
        compute = {
            "error": lambda: first.L(x, y),
            "error_per_feature": lambda: first.L.per_feature(x, y),
            "reconstruction": lambda: self.transform.inverse(first.L.mean(y)),
        }
        return {name: value().cpu().numpy() for name, value in compute.items() if name in self.names}

    def _classified(self, x: Tensor) -> dict[str, NDArray[Any]]:
        assert self.classifier is not None
        probability = self.classifier(x).float().softmax(dim=1).cpu().numpy()
        label = probability.argmax(axis=1)
        return {
            "prediction": label if self.class_names is None else np.array(self.class_names)[label],
            "probability": probability,
        }
