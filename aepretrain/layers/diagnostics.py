"""Diagnostics that show whether a layer learnt a useful code."""

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Generator, Tensor
from torchmetrics import Metric

from aepretrain.parts.likelihoods import Likelihood
from aepretrain.parts.moments import Moments
from aepretrain.parts.noise import Noise
from aepretrain.parts.precision import at_least_float32

ACTIVE = 0.01
"""A unit is active on an example if |h| exceeds this threshold."""

INFORMATIVE = 0.01
"""A unit is informative if its variance over the data exceeds this share of the code's scale: see CodeStatistics."""

SATURATED = 0.99
"""A unit is saturated if this share of its values lies within 1 % of an end of the code's range."""

ROUNDING = 1e-6
"""Relative standard deviation below which float32 values vary by rounding alone."""

USED = 0.1
"""A dimension of a variational code is used if its KL divergence exceeds this, in nats."""

ACTIVE_VARIANCE = 0.01
"""A dimension of a variational code is active if the variance of its posterior mean over the data exceeds this (Burda,
Grosse, Salakhutdinov: Importance Weighted Autoencoders, 2016, section 5.2)."""


class CodeStatistics(Metric):
    r"""Statistics of how a code uses its units, over a whole data set.

    ``compute`` returns a dictionary:

    - ``active_share``: fraction of all (example, unit) pairs with :math:`|h| > 0.01`,
    - ``mean_abs_code``: mean of :math:`|h|`, in units of the code,
    - ``dead_units``: number of units that are active on no example,
    - ``saturated_units``: number of units of which at least 99 % of the values lie at an end of the code's range; for
      a range that is bounded on both sides,
    - ``informative_units``: number of units with :math:`\mathrm{Var}_x(h) > 0.01 \, s`, where the scale :math:`s` is
      the variance of a uniform distribution over the code's range if that is bounded, else the mean variance of the
      units. The code of a variational autoencoder has the scale of its prior, so there :math:`s` is at least 1.

    Args:
        code_shape: Shape of one code, without the batch dimension.
        code_range: The interval that every value of the code lies in.
        prior: Whether the code has a prior of unit variance.

    Example:
        >>> statistics = CodeStatistics((3,), (0.0, 1.0))
        >>> statistics.update(torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.5]]))
        >>> {name: value.item() for name, value in statistics.compute().items() if name.endswith("units")}
        {'dead_units': 1.0, 'informative_units': 1.0, 'saturated_units': 2.0}
    """

    full_state_update = False
    count: Tensor
    means: Tensor
    squares: Tensor
    magnitudes: Tensor
    activations: Tensor
    extremes: Tensor

    def __init__(
        self,
        code_shape: tuple[int, ...],
        code_range: tuple[float, float] = (-math.inf, math.inf),
        *,
        prior: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        units = torch.Size(code_shape).numel()
        self.low, self.high = code_range
        self.prior = prior
        for name in ("activations", "extremes"):
            self.add_state(name, torch.zeros(units, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("magnitudes", torch.zeros(units), dist_reduce_fx="sum")
        # The moments of several processes are gathered, one row each, and combined in compute.
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx=None)
        for name in ("means", "squares"):
            self.add_state(name, torch.zeros(units), dist_reduce_fx=None)

    @property
    def is_bounded(self) -> bool:
        """Whether the code's range is bounded on both sides."""
        return math.isfinite(self.high - self.low)

    def update(self, h: Tensor) -> None:
        """Add the codes ``h``, shape ``(B, *code_shape)``."""
        h = at_least_float32(h.detach().flatten(1))
        self.count, self.means, self.squares = Moments(self.count, self.means, self.squares).combine(Moments.of(h))
        self.magnitudes += h.abs().sum(dim=0)
        self.activations += (h.abs() > ACTIVE).sum(dim=0)
        if self.is_bounded:
            margin = 0.01 * (self.high - self.low)
            self.extremes += ((h < self.low + margin) | (h > self.high - margin)).sum(dim=0)

    def moments(self) -> Moments:
        """The moments of the codes of all processes."""
        units = self.magnitudes.numel()
        each = zip(self.count.reshape(-1), self.means.reshape(-1, units), self.squares.reshape(-1, units), strict=True)
        return functools.reduce(Moments.combine, itertools.starmap(Moments, each))

    def compute(self) -> dict[str, Tensor]:
        found = self.moments()
        count = found.examples
        totals = {
            "active_share": (self.activations / count).mean(),
            "mean_abs_code": (self.magnitudes / count).mean(),
            "dead_units": (self.activations == 0).sum().float(),
            "informative_units": (found.variance > self._least_variance(found)).sum().float(),
        }
        if self.is_bounded:
            totals["saturated_units"] = (self.extremes >= SATURATED * count).sum().float()
        return totals

    def _least_variance(self, found: Moments) -> Tensor:
        """The variance above which a unit is informative, shape ``(H,)``; at least that of rounding."""
        if self.is_bounded:
            scale = torch.full_like(found.mean, (self.high - self.low) ** 2 / 12)
        else:
            scale = found.variance.mean().clamp(min=1.0 if self.prior else 0.0).expand_as(found.mean)
        rounding = (ROUNDING * found.mean).square()
        return torch.maximum(INFORMATIVE * scale, rounding)


@dataclass(frozen=True)
class StageDiagnostics:
    """What is measured once, when the training of a layer has ended.

    Args:
        scalars: Figures by name; ``nan`` where one is not defined.
        units: Figures of every unit of the code, by name.
    """

    scalars: Mapping[str, float]
    units: Mapping[str, tuple[float, ...]]

    @property
    def identity_text(self) -> str:
        """The identity score for people."""
        score = self.scalars["identity_score"]
        return "not defined" if math.isnan(score) else f"{score:.2f}"

    @property
    def used_units(self) -> int | None:
        """Dimensions of a variational code that carry information; ``None`` for other codes."""
        return None if "used_units" not in self.scalars else int(self.scalars["used_units"])


@torch.no_grad()
def diagnose(
    layer: "Diagnosed", x: Tensor, generator: Generator | None = None, *, train: Tensor | None = None
) -> StageDiagnostics:
    """Measure a trained layer on examples that it was not trained on, shape ``(N, *in_shape)``.

    Args:
        layer: The layer.
        x: The examples.
        generator: Generator of the noise; ``None`` for the global one.
        train: Examples that it was trained on, to be compared with ``x``; ``None``: they are not compared.
    """
    units = {name: tuple(values.tolist()) for name, values in layer.unit_diagnostics(x).items()}
    scalars = {"identity_score": identity_score(layer, x, generator)}
    if (mean := layer.mean_reconstruction(x)) is not None:
        scalars["mean_reconstruction"] = mean
    if train is not None:
        scalars |= layer.generalization(train, x)
    if "kl" in units:
        scalars["used_units"] = float(sum(value > USED for value in units["kl"]))
    if "variance" in units:
        scalars["active_units"] = float(sum(value > ACTIVE_VARIANCE for value in units["variance"]))
    scalars |= layer.closing_figures(x, Noise(generator))
    return StageDiagnostics(scalars, units)


class Diagnosed(Protocol):
    """What :func:`diagnose` asks of a layer."""

    def reconstruct(self, x: Tensor) -> Tensor: ...
    def mean_reconstruction(self, x: Tensor) -> float | None: ...
    def unit_diagnostics(self, x: Tensor) -> dict[str, Tensor]: ...
    def closing_figures(self, x: Tensor, noise: Noise) -> dict[str, float]: ...
    def generalization(self, train: Tensor, validation: Tensor) -> dict[str, float]: ...


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
        A number of at most 1; ``nan``, not defined, if no feature varies by more than rounding.

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
    found = Moments.of(noise)
    if (found.variance <= (ROUNDING * found.mean).square()).all():
        return math.nan
    return (1 - error / (noise - noise.mean(dim=0)).square().sum()).item()


@torch.no_grad()
def mean_reconstruction(likelihood: Likelihood, x: Tensor) -> float:
    r"""Reconstruction loss of an autoencoder that always answers with the mean of the data, in nats per example.

    .. math:: \frac1N \sum_n L\Big(x_n, y\Big), \qquad \mathbb E_{p(\cdot \mid y)} x = \frac1N \sum_n x_n

    A layer with no smaller loss learnt nothing about single examples.

    Args:
        likelihood: The likelihood of the layer.
        x: Examples, shape ``(N, ...)``.

    Example:
        >>> from aepretrain import Gaussian
        >>> mean_reconstruction(Gaussian(), torch.tensor([[0.0], [2.0]]))
        0.5
    """
    y = likelihood.output_of_mean(x.mean(dim=0, keepdim=True))
    return likelihood(x, y.expand_as(x)).mean().item()
