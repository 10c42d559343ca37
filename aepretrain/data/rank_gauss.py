"""The transform of every feature to a normal distribution by its quantiles."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from aepretrain.data.rows import Inputs, choose
from aepretrain.data.transforms import Transform
from aepretrain.errors import DataError

SAMPLED = 10_000
"""Training rows, spread evenly, that quantiles are taken of at most, as scikit-learn does by default."""
END = 1e-7
"""Quantiles nearer to 0 or 1 are taken as this far away, so that values beyond all training rows reach 5.2."""


class RankGauss(Transform):
    r"""Scaling of every feature to a normal distribution of mean 0 and standard deviation 1, by its quantiles.

    .. math:: x_j = \Phi^{-1}(F_j(r_j))

    :math:`F_j` is the distribution of the feature on the training rows, linear between its quantiles, and :math:`\Phi`
    that of the standard normal. Outliers and long tails lose their weight; the order of values is kept. Values beyond
    all training rows become -5.2 or 5.2. The quantiles are fitted by scikit-learn's ``QuantileTransformer``; a value
    that many rows share gets their middle rank, also at the ends, where scikit-learn gives -5.2 or 5.2.

    Args:
        count: Number of quantiles; at most the number of training rows are kept.

    Raises:
        ValueError: If the number is below 2.

    Reference:
        Jahrer: winning entry of Porto Seguro's Safe Driver Prediction (2017).

    Example:
        >>> x = torch.tensor([[1.0], [2.0], [1000.0]])
        >>> RankGauss().fit(x)(x).round(decimals=1).flatten()
        tensor([-5.2000, -0.0000,  5.2000])
    """

    statistics = ("quantiles",)
    words = "every feature brought to a normal distribution by its quantiles in the training rows"
    quantiles: Tensor
    """Quantiles of every feature, shape ``(count, *in_shape)``, from the least value to the largest."""

    def __init__(self, count: int = 1000) -> None:
        super().__init__()
        if count < 2:
            raise ValueError(f"RankGauss count must be >= 2, but got {count}. Usual is 1000.")
        self.count = count

    def fit(self, x: Inputs) -> Self:
        if len(x) < 2:
            raise DataError(f"RankGauss needs at least 2 training rows, but there are {len(x)}. Check the split.")
        rows = torch.linspace(0, len(x) - 1, min(len(x), SAMPLED), dtype=torch.float64).round().long()
        sample = choose(x, rows)[:].float().cpu()
        if not sample.isfinite().all():
            raise DataError("RankGauss cannot be fitted: training rows hold NaN or infinity. Impute or drop them.")
        from sklearn.preprocessing import QuantileTransformer  # here, since a loaded encoder fits nothing

        self.count = min(self.count, len(rows))
        fitted = QuantileTransformer(n_quantiles=self.count, output_distribution="normal", subsample=None)
        fitted.fit(sample.flatten(1).double().numpy())
        self.quantiles = torch.from_numpy(fitted.quantiles_.astype(np.float32)).reshape(self.count, *x.shape[1:])
        return self

    def scale_(self, x: Tensor) -> Tensor:
        self._check(x)
        flat, quantiles = x.flatten(1).t().contiguous(), self.quantiles.flatten(1).t().contiguous()
        # Of a value that is several quantiles at once, the middle one counts: the mean of both ways round.
        upwards = _interpolate(flat, quantiles, self._shares(x))
        downwards = _interpolate(-flat, -quantiles.flip(1), self._shares(x))
        below, above = (
            (0.5 * (upwards + 1 - downwards)).clamp(min=END),
            (0.5 * (downwards + 1 - upwards)).clamp(min=END),
        )
        # Near 1, a share has too few digits in float32: the tail above is taken instead.
        scaled = torch.special.ndtri(below).where(below < above, -torch.special.ndtri(above))
        return x.copy_(scaled.t().reshape(x.shape))

    def inverse(self, scaled: Tensor) -> Tensor:
        self._check(scaled)
        share, quantiles = torch.special.ndtr(scaled.flatten(1)), self.quantiles.flatten(1)
        place = share * (self.count - 1)
        low = place.floor().clamp(0, self.count - 2).long()
        below, above = quantiles.gather(0, low), quantiles.gather(0, low + 1)
        return torch.lerp(below, above, place - low).reshape(scaled.shape)

    def reserve(self, in_shape: tuple[int, ...]) -> Self:
        self.register_buffer("quantiles", torch.empty(self.count, *in_shape))
        return self

    def arguments(self) -> dict[str, Any]:
        return {"count": self.count}

    def _fitted_shape(self) -> torch.Size:
        return self.quantiles.shape[1:]

    def _shares(self, x: Tensor) -> Tensor:
        """The share of the training rows below each quantile, shape ``(count,)``."""
        return torch.linspace(0, 1, self.count, device=x.device)


def _interpolate(x: Tensor, points: Tensor, values: Tensor) -> Tensor:
    """Interpolate linearly between points, each row by its own: ``(D, B)`` and ``(D, Q)`` to ``(D, B)``.

    Of equal points the last one counts; beyond the ends, the values at the ends are taken.
    """
    above = torch.searchsorted(points, x, right=True).clamp(1, points.shape[1] - 1)
    left, right = points.gather(1, above - 1), points.gather(1, above)
    width = (right - left).where(right > left, 1.0)
    place = ((x - left) / width).where(right > left, (x >= right).float()).clamp(0, 1)
    return torch.lerp(values[above - 1], values[above], place)
