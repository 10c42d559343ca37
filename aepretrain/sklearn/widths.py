"""The layers of an estimator, given as widths and the name of a variant."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Adam

from aepretrain import layers
from aepretrain.errors import ConfigError
from aepretrain.layers import Autoencoder, Layer
from aepretrain.parts.activations import Activation
from aepretrain.parts.dense import Dense
from aepretrain.parts.likelihoods import Gaussian, Likelihood
from aepretrain.pretraining.stack import LayerFactory

VARIANTS: dict[str, Callable[..., Layer]] = {
    cls.variant(): cls
    for cls in (getattr(layers, name) for name in layers.__all__)
    if issubclass(cls, Autoencoder) and cls is not Autoencoder
}
"""The variants by name."""


def layer_factories(
    widths: Sequence[Any], variant: str | Callable[..., Layer], *, activation: Activation, first: Likelihood, lr: float
) -> list[LayerFactory]:
    """One factory per layer, from the input up.

    Args:
        widths: Widths; in place of a width, a factory, which is taken as it is.
        variant: A name of :data:`VARIANTS`, or what makes a layer from ``in_shape`` and ``coder``.
        activation: Activation of the codes.
        first: Likelihood of the first layer; that of the others is Gaussian.
        lr: Learning rate of Adam.

    Raises:
        ConfigError: If the variant is unknown.

    Example:
        >>> below, above = layer_factories([8, 4], "sparse", activation="relu", first=Gaussian(), lr=0.01)
        >>> below((6,)).code_shape, above((8,)).code_shape
        ((8,), (4,))
    """
    make = VARIANTS.get(variant) if isinstance(variant, str) else variant
    if make is None:
        raise ConfigError(f"variant must be one of {', '.join(VARIANTS)}, or a class, but is {variant!r}.")
    return [
        width
        if callable(width)
        else partial(
            make,
            coder=Dense(width, activation),
            likelihood=Gaussian() if k else first,
            optimizer=partial(Adam, lr=lr),
        )
        for k, width in enumerate(widths)
    ]
