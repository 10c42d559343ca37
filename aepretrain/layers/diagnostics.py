"""Diagnostics that show whether a layer learnt a useful code."""

from typing import Any, Protocol

import torch
from torch import Generator, Tensor
from torchmetrics import Metric

from aepretrain.parts.precision import at_least_float32

ACTIVE = 0.01
"""A unit is active on an example if |h| exceeds this threshold."""

INFORMATIVE = 0.01
"""A unit is informative if its variance over the data exceeds this threshold: Burda et al. (2016), section 5.2."""


class CodeStatistics(Metric):
    r"""Statistics of how a code uses its units, over a whole data set.

    ``compute`` returns a dictionary:

    - ``active_share``: fraction of all (example, unit) pairs with :math:`|h| > 0.01`,
    - ``mean_abs_code``: mean of :math:`|h|`, in units of the code,
    - ``dead_units``: number of units that are active on no example,
    - ``informative_units``: number of units with :math:`\mathrm{Var}_x(h) > 0.01`; for a variational autoencoder, whose
      code is the mean of q, these are the active latent units.

    Args:
        code_shape: Shape of one code, without the batch dimension.

    Reference:
        Burda, Grosse, Salakhutdinov: Importance Weighted Autoencoders (2016), section 5.2.

    Example:
        >>> statistics = CodeStatistics((3,))
        >>> statistics.update(torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.5]]))
        >>> {name: round(value.item(), 4) for name, value in statistics.compute().items()}
        {'active_share': 0.5, 'mean_abs_code': 0.3333, 'dead_units': 1.0, 'informative_units': 1.0}
    """

    full_state_update = False
    count: Tensor
    sums: Tensor
    squares: Tensor
    magnitudes: Tensor
    activations: Tensor

    def __init__(self, code_shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        units = torch.Size(code_shape).numel()
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("activations", torch.zeros(units, dtype=torch.int64), dist_reduce_fx="sum")
        for name in ("sums", "squares", "magnitudes"):
            self.add_state(name, torch.zeros(units), dist_reduce_fx="sum")

    def update(self, h: Tensor) -> None:
        """Add the codes ``h``, shape ``(B, *code_shape)``."""
        h = at_least_float32(h.detach().flatten(1))
        self.count += len(h)
        self.sums += h.sum(dim=0)
        self.squares += h.square().sum(dim=0)
        self.magnitudes += h.abs().sum(dim=0)
        self.activations += (h.abs() > ACTIVE).sum(dim=0)

    def compute(self) -> dict[str, Tensor]:
        variance = self.squares / self.count - (self.sums / self.count).square()
        return {
            "active_share": (self.activations / self.count).mean(),
            "mean_abs_code": (self.magnitudes / self.count).mean(),
            "dead_units": (self.activations == 0).sum().float(),
            "informative_units": (variance > INFORMATIVE).sum().float(),
        }


class Reconstructs(Protocol):
    """An object that maps inputs to their reconstructions."""

    def reconstruct(self, x: Tensor) -> Tensor: ...


@torch.no_grad()
def identity_score(model: Reconstructs, x: Tensor, generator: Generator | None = None) -> float:
    r"""Measure how close :math:`g \circ f` is to the identity on noise outside the data distribution.

    The noise is drawn by shuffling each feature over the examples independently, which keeps every marginal
    distribution and destroys all dependence between features. The score is the explained share of the noise's variance,

    .. math:: 1 - \frac{\sum \lVert n - g(f(n)) \rVert^2}{\sum \lVert n - \bar n \rVert^2}

    1 means that the layer copies any input, and so learnt nothing about the data; 0 is as good as predicting the mean;
    below 0, the layer pulls noise towards the data.

    Args:
        model: An object with a method ``reconstruct``.
        x: Real examples, shape ``(N, ...)``, with N at least 2.
        generator: Generator for the shuffles; ``None`` for the global one.

    Returns:
        A number of at most 1; ``nan`` if no feature varies.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 14.2: overcomplete autoencoders can learn to copy.

    Example:
        >>> from types import SimpleNamespace
        >>> identity_score(SimpleNamespace(reconstruct=lambda x: x), torch.rand(32, 4))
        1.0
    """
    order = torch.rand(x.shape, generator=generator).argsort(dim=0).to(x.device)
    noise = x.gather(0, order)
    error = (noise - model.reconstruct(noise)).square().sum()
    variance = (noise - noise.mean(dim=0)).square().sum()
    return (1 - error / variance).item() if variance > 0 else float("nan")
