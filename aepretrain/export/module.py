"""The encoder that comes back from its folder: what is done to raw values, and then the layers."""

from collections.abc import Sequence

from torch import Tensor, nn

from aepretrain.data.transforms import Transform


class Encoder(nn.Module):
    r"""A pretrained encoder for raw values: the transform that was fitted on training rows, then the layers.

    .. math:: h = f(t(r))

    Args:
        transform: :math:`t`, from raw values to what the layers were trained on.
        layers: :math:`f`, the map ``(B, *in_shape) -> (B, *code_shape)``: what fine-tuning goes on with.
        in_shape: Shape of one input, without the batch dimension.
        code_shape: Shape of one code.
        columns: Names of the columns that are features, in their order; a column of lists is several features. ``None``
            without names.
        class_names: Names of the classes that the training data had, by their numbers; ``None`` without names.

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
    ) -> None:
        super().__init__()
        self.transform = transform
        self.layers = layers
        self.in_shape = tuple(in_shape)
        self.code_shape = tuple(code_shape)
        self.columns = None if columns is None else list(columns)
        self.class_names = None if class_names is None else list(class_names)

    def forward(self, raw: Tensor) -> Tensor:
        """Codes ``(B, *code_shape)`` of raw values ``(B, *in_shape)`` of any type, uint8 pixels as well."""
        scaled = self.transform(raw)
        # All arithmetic before the layers is in float32, also where they were moved to another type.
        first = next(self.layers.parameters(), None)
        return self.code(scaled if first is None else scaled.to(first.dtype))

    def code(self, scaled: Tensor) -> Tensor:
        """Codes ``(B, *code_shape)`` of inputs ``(B, *in_shape)`` that are scaled already."""
        return self.layers(scaled)
