"""The deep autoencoder: the layers of a stack as one network, trained on the reconstruction of the input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from aepretrain.errors import ConfigError
from aepretrain.layers import CodingLayer, Layer, PlainAutoencoder
from aepretrain.parts.coders import Coder, CoderParts
from aepretrain.parts.likelihoods import Likelihood


def unroll(layers: Sequence[Layer]) -> PlainAutoencoder:
    r"""Join the encoders and decoders of a stack into one autoencoder, which shares their weights.

    .. math:: E(x) = L_1(x, g_1(\mu_2(g_2(\ldots \mu_n(g_n(h)))))), \qquad h = f_n(\ldots f_1(x))

    :math:`L_1` is the likelihood of the first layer, :math:`\mu_k` the mean of the likelihood of layer k. Noise and
    penalties of the layers are left out. The optimizer is that of the first layer, without its scheduler.

    Args:
        layers: The layers of the stack, from the input up.

    Raises:
        ConfigError: If a layer has no decoder.

    Reference:
        Hinton, Salakhutdinov: Reducing the Dimensionality of Data with Neural Networks (2006).

    Example:
        >>> import torch
        >>> from aepretrain import Dense, GreedyStack
        >>> narrower = [lambda s: PlainAutoencoder(s, Dense(64)), lambda s: PlainAutoencoder(s, Dense(8))]
        >>> deep = unroll(list(GreedyStack((784,), narrower)))
        >>> deep.encode(torch.rand(5, 784)).shape, deep.energy(torch.rand(5, 784)).shape
        (torch.Size([5, 8]), torch.Size([5]))
    """
    joined = [layer for layer in layers if isinstance(layer, CodingLayer)]
    for k, layer in enumerate(layers):
        if not isinstance(layer, CodingLayer):
            raise ConfigError(
                f"pretrain.unroll needs layers with a decoder, but layer {k} is a {type(layer).__name__}. Set it to 0."
            )
    first = joined[0]
    return PlainAutoencoder(first.in_shape, _Joined(joined), likelihood=first.L, optimizer=first.optimizer)


@dataclass(frozen=True)
class _Joined(Coder):
    """Gives the encoders and decoders of layers, from the input up, as those of one autoencoder."""

    layers: Sequence[CodingLayer]

    def build(self, in_shape: Sequence[int]) -> CoderParts:
        *body, affine, activation = (module for layer in self.layers for module in layer.encoder)
        decoder: list[nn.Module] = [self.layers[0].g]
        for layer in self.layers[1:]:
            decoder = [layer.g, Mean(layer.L), *decoder]
        return CoderParts(nn.Sequential(*body), affine, activation, nn.Sequential(*decoder), self.layers[-1].code_shape)

    @property
    def code_range(self) -> tuple[float, float]:
        return self.layers[-1].code_range

    def narrowest(self, in_shape: Sequence[int]) -> int:
        return min(layer.narrowest for layer in self.layers)

    @property
    def is_sparse(self) -> bool:
        return self.layers[-1].coder.is_sparse

    @property
    def projection(self) -> Callable[[nn.Sequential], None] | None:
        own = [(layer.coder.projection, layer.g) for layer in self.layers]
        if all(project is None for project, _ in own):
            return None

        def project_each(decoder: nn.Sequential) -> None:
            for project, g in own:
                if project is not None:
                    project(g)

        return project_each

    def unsquashed(self) -> Coder:
        raise NotImplementedError("a joined stack keeps the code of its last layer.")


class Mean(nn.Module):
    """The mean of a likelihood as a module: outputs of a decoder to values in units of its input, both ``(B, ...)``.

    Args:
        likelihood: The likelihood.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood

    def forward(self, y: Tensor) -> Tensor:
        return self.likelihood.mean(y)
