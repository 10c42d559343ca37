"""Batched affine maps of many models: the weights of seed s map the s-th of S equal shares of the rows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aepretrain.parts.contraction import CLOSED_FORMS
from aepretrain.parts.norms import clip_norms_


class SeedLinear(nn.Module):
    r"""The affine maps of S models in one batched matrix product.

    .. math:: y_{sb} = W_s x_{sb} + c_s

    Args:
        linears: The maps, all of one shape, with bias. Their weights are copied to shape ``(S, in, out)``, and are
            trainable if those of the first map are.

    Example:
        >>> maps = [nn.Linear(3, 2) for _ in range(4)]
        >>> y = SeedLinear(maps)(torch.ones(8, 3))
        >>> torch.allclose(y[2:4], maps[1](torch.ones(2, 3)))
        True
    """

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        super().__init__()
        # Gradients then have the layout of the weights; with (S, out, in) they would be copied at every step.
        trained = linears[0].weight.requires_grad
        self.weight = nn.Parameter(torch.stack([linear.weight.detach().t() for linear in linears]), trained)
        self.bias = nn.Parameter(torch.stack([linear.bias.detach() for linear in linears]), trained)

    def forward(self, x: Tensor) -> Tensor:
        return _product(x, self.weight, self.bias)

    @torch.no_grad()
    def write_back(self, linears: Sequence[nn.Linear]) -> None:
        """Copy the weights of each seed into its own map."""
        for linear, weight, bias in zip(linears, self.weight, self.bias, strict=True):
            linear.weight.copy_(weight.t())
            linear.bias.copy_(bias)


@clip_norms_.register(SeedLinear)
@torch.no_grad()
def _(module: SeedLinear, most: float) -> None:
    if module.weight.requires_grad:
        units = module.weight.transpose(1, 2)
        bounded = torch.renorm(units.flatten(0, 1), p=2, dim=0, maxnorm=most)
        units.copy_(bounded.view_as(units))


def _closed_form(linear: SeedLinear, inputs: Tensor, values: Tensor) -> Tensor:
    squared_norms = linear.weight.square().sum(dim=1)
    shared = values.reshape(len(squared_norms), -1, values.shape[1])
    return torch.bmm(shared, squared_norms.unsqueeze(2)).flatten()


CLOSED_FORMS[SeedLinear] = _closed_form


class SeedTransposed(nn.Module):
    r"""Tied weights of S models: :math:`y_{sb} = W_s^\top h_{sb} + c_s`.

    Args:
        linear: The maps whose weights are shared.
        biases: The biases :math:`c_s` of the S models; they are copied.
    """

    def __init__(self, linear: SeedLinear, biases: Sequence[Tensor]) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = nn.Parameter(torch.stack([bias.detach() for bias in biases]))

    def forward(self, h: Tensor) -> Tensor:
        return _product(h, self.weight.transpose(1, 2), self.bias)

    @torch.no_grad()
    def write_back(self, biases: Sequence[Tensor]) -> None:
        """Copy the bias of each seed back into its own tensor."""
        for own, bias in zip(biases, self.bias, strict=True):
            own.copy_(bias)


def _product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Multiply rows ``(S * B, in)`` by weights ``(S, in, out)`` and add biases ``(S, out)``: ``(S * B, out)``."""
    # baddbmm takes nearly twice as long on the CPU.
    y = torch.bmm(x.reshape(len(weight), -1, x.shape[1]), weight).add_(bias.unsqueeze(1))
    return y.flatten(0, 1)
