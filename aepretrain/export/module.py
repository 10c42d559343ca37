"""The module of a loaded encoder: the transform of raw values, followed by the layers."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from aepretrain.data.transforms import NoTransform, Transform


class Encoder(nn.Module):
    r"""A pretrained encoder for raw values: the transform fitted on the training rows, then the layers.

    .. math:: h = f(t(r))

    Args:
        transform: :math:`t`, from raw values to the inputs that the layers were trained on.
        layers: :math:`f`, the map ``(B, *in_shape) -> (B, *code_shape)``, for further training.
        in_shape: Shape of one raw input, without the batch dimension.
        code_shape: Shape of one code.
        columns: Names of the feature columns, in order; a column of lists holds several features. ``None`` if unnamed.
        class_names: Names of the classes in the training data, in the order of their labels; ``None`` if unnamed.
        preprocessing: Description of the transform; empty: its own.
        provenance: Origin of the weights, in plain values: data set, seed, metrics, versions.

    Example:
        >>> encoder = Encoder(Scale(255), nn.Linear(4, 2), (4,), (2,))
        >>> pixels = torch.randint(256, (3, 4), dtype=torch.uint8)
        >>> torch.equal(encoder(pixels), encoder.code(pixels / 255))
        True
    """

    def __init__(
        self,
        transform: Transform,
        layers: nn.Module,
        in_shape: Sequence[int],
        code_shape: Sequence[int],
        *,
        columns: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        preprocessing: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.transform = transform
        self.layers = layers
        self.in_shape = tuple(in_shape)
        self.code_shape = tuple(code_shape)
        self.columns = None if columns is None else list(columns)
        self.class_names = None if class_names is None else list(class_names)
        self.preprocessing = preprocessing or transform.words
        self.provenance = dict(provenance or {})

    @property
    def out_features(self) -> int:
        """Number of values in a code."""
        return math.prod(self.code_shape)

    @property
    def scaled_shape(self) -> tuple[int, ...]:
        """Shape of one input of the layers, without the batch dimension."""
        return self.transform.out_shape(self.in_shape)

    def lower(self, depth: int) -> "Encoder":
        """The lowest layers as an encoder of their own, in evaluation mode, which shares the weights.

        Args:
            depth: Number of layers, at least 1.

        Raises:
            ValueError: If the encoder has fewer layers.
        """
        layers = self.layers if isinstance(self.layers, nn.Sequential) else nn.Sequential(self.layers)
        if not 1 <= depth <= len(layers):
            raise ValueError(f"depth must lie between 1 and the encoder's {len(layers)} layers, but got {depth}.")
        return self._with(self.transform, layers[:depth], self.in_shape)

    def without_transform(self) -> "Encoder":
        """The encoder of scaled values ``(B, *scaled_shape)``, in evaluation mode, which shares the weights."""
        return self._with(NoTransform(), self.layers, self.scaled_shape)

    def with_head(self, head: nn.Module) -> "Encoder":
        """The encoder followed by a module that takes its flattened codes, in evaluation mode; it shares the weights.

        Args:
            head: The map ``(B, out_features) -> (B, ...)``.
        """
        layers = self.layers if isinstance(self.layers, nn.Sequential) else nn.Sequential(self.layers)
        return self._with(self.transform, nn.Sequential(*layers, nn.Sequential(nn.Flatten(), head)), self.in_shape)

    def _with(self, transform: Transform, layers: nn.Module, in_shape: Sequence[int]) -> "Encoder":
        """An encoder of other parts with the same names."""
        layers = layers.eval()
        like = next(self.parameters(), torch.zeros(0))
        with torch.no_grad():
            h = layers(torch.zeros(1, *self.scaled_shape, dtype=like.dtype, device=like.device))
        return Encoder(
            transform,
            layers,
            in_shape,
            h.shape[1:],
            columns=self.columns,
            class_names=self.class_names,
            preprocessing=self.preprocessing if transform is self.transform else "",
            provenance=self.provenance,
        ).eval()

    def preprocess(self, raw: Tensor) -> Tensor:
        """Scale raw values ``(B, *in_shape)`` of any dtype, as the layers take them: ``(B, *scaled_shape)``.

        Scaling is in float32; the result has the dtype of the layers, if these were converted.
        """
        scaled = self.transform(raw)
        first = next(self.layers.parameters(), None)
        return scaled if first is None else scaled.to(first.dtype)

    def forward(self, raw: Tensor, *, return_all: bool = False) -> Tensor | list[Tensor]:
        """Compute codes ``(B, *code_shape)`` of raw values ``(B, *in_shape)`` of any dtype, including uint8 pixels.

        Args:
            raw: The raw values.
            return_all: Whether to return the codes of every layer, from the input up, as a list.
        """
        scaled = self.preprocess(raw)
        if not return_all:
            return self.code(scaled)
        layers = self.layers if isinstance(self.layers, nn.Sequential) else [self.layers]
        return list(accumulate(layers, lambda h, layer: layer(h), initial=scaled))[1:]

    def code(self, scaled: Tensor) -> Tensor:
        """Compute codes ``(B, *code_shape)`` of scaled inputs ``(B, *scaled_shape)``."""
        return self.layers(scaled)
