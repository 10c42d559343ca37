"""Preprocessing of raw values, fitted on training rows and saved with the encoder."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from aepretrain.data.rows import Inputs, pieces
from aepretrain.errors import DataError


class Transform(nn.Module, ABC):
    """The map from raw values to the inputs of a network, one feature or column at a time.

    The state is held in buffers: it moves to a device with its module, and is saved in the same file as the weights.
    All arithmetic is in float32. A subclass implements :meth:`scale_` and :meth:`inverse`. A subclass that is fitted to
    data also lists its buffers in ``statistics`` and implements :meth:`fit`.

    Example:
        >>> transform = Standardize().fit(torch.tensor([[0.0], [2.0]]))
        >>> transform(torch.tensor([[0], [2], [4]], dtype=torch.uint8)).tolist()
        [[-1.0], [1.0], [3.0]]
    """

    statistics: tuple[str, ...] = ()
    """Names of the buffers that :meth:`fit` computes, each of the shape of one example unless the class says more."""
    words: str
    """Description of the transform."""

    def __init__(self) -> None:
        super().__init__()
        for name in self.statistics:
            self.register_buffer(name, None)

    @property
    def is_fitted(self) -> bool:
        """Whether all statistics are known."""
        return all(getattr(self, name) is not None for name in self.statistics)

    def fit(self, x: Inputs) -> Self:
        """Compute the statistics of training rows; the default has no statistics.

        Args:
            x: Raw training inputs, shape ``(N, *in_shape)``: a tensor, or rows of a file that are read piece by piece.

        Raises:
            DataError: If there are no rows, or a feature is not finite.
        """
        return self

    def forward(self, raw: Tensor) -> Tensor:
        """Float32 inputs of the network, ``(B, *out_shape)``, for raw values of any type, ``(B, *in_shape)``."""
        return self.scale_(raw.to(torch.float32, copy=True))

    @abstractmethod
    def scale_(self, x: Tensor) -> Tensor:
        """Scale float32 values in place, shape ``(B, *in_shape)``, so that rows of a file need no second buffer."""

    @abstractmethod
    def inverse(self, scaled: Tensor) -> Tensor:
        """Raw values of scaled ones, shape ``(B, *in_shape)``, up to rounding."""

    def restore(self, scaled: Tensor) -> Tensor:
        """Raw rows ``(B, *in_shape)`` that this transform scaled, up to rounding: missing values are missing again."""
        return self.inverse(scaled)

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of one scaled example, given that of a raw one: the same, unless columns become several features."""
        return in_shape

    def names_out(self, columns: Sequence[str]) -> list[str]:
        """Names of the scaled features, given those of the raw ones."""
        return list(columns)

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments as plain values."""
        return {}

    def scales_like(self, other: "Transform") -> bool:
        """Whether the other is of the same rule and settings; the rows that it was fitted to may be others."""
        return type(self) is type(other) and self.arguments() == other.arguments()

    def reserve(self, in_shape: tuple[int, ...]) -> Self:
        """Allocate buffers for examples of this shape, whose values are loaded later."""
        for name in self.statistics:
            self.register_buffer(name, torch.empty(in_shape))
        return self

    def extra_repr(self) -> str:
        shapes = [f"{name}={tuple(getattr(self, name).shape)}" for name in self.statistics if self.is_fitted]
        return ", ".join([f"{key}={value}" for key, value in self.arguments().items()] + shapes)

    def _fitted_shape(self) -> torch.Size:
        """Shape of the examples that the transform was fitted to."""
        return getattr(self, self.statistics[0]).shape

    def _check(self, x: Tensor) -> None:
        """Raise a ValueError unless the transform is fitted to examples of this shape."""
        name = type(self).__name__
        if not self.is_fitted:
            raise ValueError(f"{name} has not seen any training rows. Call fit(x) first.")
        in_shape = self._fitted_shape()
        if x.shape[1:] != in_shape:
            raise ValueError(
                f"{name} was fitted to examples of shape {tuple(in_shape)}, but got {tuple(x.shape[1:])}. "
                f"Give values of shape {('B', *in_shape)}."
            )


class NoTransform(Transform):
    r"""Conversion to float32 without scaling.

    .. math:: x = r

    Example:
        >>> NoTransform()(torch.tensor([[1, 2]]))
        tensor([[1., 2.]])
    """

    words = "none: values are taken as they are"

    def forward(self, raw: Tensor) -> Tensor:
        return raw.float()

    def scale_(self, x: Tensor) -> Tensor:
        return x

    def inverse(self, scaled: Tensor) -> Tensor:
        return scaled


class Scale(Transform):
    r"""Division of all values by one number, such as the largest pixel value.

    .. math:: x = r / c

    Args:
        divide_by: The number :math:`c > 0`.

    Raises:
        ValueError: If it is not a positive finite number.

    Example:
        >>> Scale(255)(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
        tensor([[0.0000, 0.2000, 1.0000]])
    """

    divide_by: Tensor

    def __init__(self, divide_by: float) -> None:
        super().__init__()
        if not (math.isfinite(divide_by) and divide_by > 0):
            raise ValueError(f"Scale divide_by must be a positive number, but got {divide_by}. Pixels need 255.")
        # A tensor, not a number: a GPU would multiply by the rounded reciprocal of a number.
        self.register_buffer("divide_by", torch.tensor(float(divide_by)))
        self.words = f"divided by {divide_by:g}"

    def scale_(self, x: Tensor) -> Tensor:
        return x.div_(self.divide_by)

    def inverse(self, scaled: Tensor) -> Tensor:
        return scaled * self.divide_by

    def arguments(self) -> dict[str, Any]:
        return {"divide_by": self.divide_by.item()}


class Standardize(Transform):
    r"""Scaling of every feature to mean 0 and standard deviation 1 on the training rows.

    .. math:: x_j = \frac{r_j - \mu_j}{\sigma_j}, \qquad \sigma_j^2 = \frac{1}{N} \sum_n (r_{nj} - \mu_j)^2

    A feature that is constant on the training rows has :math:`\sigma_j = 1`, so it becomes 0. Mean and variance are
    those of scikit-learn's ``StandardScaler``, accumulated in float64, piece by piece.

    Example:
        >>> x = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
        >>> Standardize().fit(x)(x).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    statistics = ("mean", "std")
    words = "every feature standardized to mean 0 and standard deviation 1 on the training rows"
    mean: Tensor
    std: Tensor

    def fit(self, x: Inputs) -> Self:
        found = _statistics(x, type(self).__name__)
        constant = found.low == found.high
        self.mean = found.mean.where(~constant, found.low.double()).float()
        std = found.variance.sqrt().float()
        self.std = std.where(~constant & (std > 0), 1.0)
        return self

    def scale_(self, x: Tensor) -> Tensor:
        self._check(x)
        return x.sub_(self.mean).div_(self.std)

    def inverse(self, scaled: Tensor) -> Tensor:
        self._check(scaled)
        return scaled * self.std + self.mean


class MinMax(Transform):
    r"""Scaling of every feature to [0, 1] on the training rows, as a Bernoulli likelihood needs.

    .. math:: x_j = \frac{r_j - a_j}{b_j - a_j}, \qquad a_j = \min_n r_{nj}, \quad b_j = \max_n r_{nj}

    A feature that is constant on the training rows becomes :math:`r_j - a_j`.

    Args:
        clamp: Whether values outside the range of the training rows are clamped to 0 or 1, so that every input lies in
            [0, 1]. The inverse of a clamped value is the nearest value in the range of the training rows.

    Raises:
        DataError: From :meth:`fit`, if the range of a feature exceeds float32.

    Example:
        >>> minmax = MinMax().fit(torch.tensor([[10.0], [30.0]]))
        >>> minmax(torch.tensor([[15.0], [99.0]])).tolist()
        [[0.25], [1.0]]
    """

    statistics = ("low", "span")
    words = "every feature scaled to [0, 1] by its least and largest value in the training rows"
    low: Tensor
    span: Tensor

    def __init__(self, clamp: bool = True) -> None:
        super().__init__()
        self.clamp = clamp

    def fit(self, x: Inputs) -> Self:
        found = _statistics(x, type(self).__name__)
        span = found.high - found.low
        if not span.isfinite().all():
            raise DataError(
                f"MinMax cannot be fitted: feature {_first(~span.isfinite())} of the training rows reaches from "
                "one end of float32 to the other. Rescale it."
            )
        self.low, self.span = found.low, span.where(span > 0, 1.0)
        return self

    def scale_(self, x: Tensor) -> Tensor:
        self._check(x)
        x = x.sub_(self.low).div_(self.span)
        return x.clamp_(0, 1) if self.clamp else x

    def inverse(self, scaled: Tensor) -> Tensor:
        self._check(scaled)
        return scaled * self.span + self.low

    def arguments(self) -> dict[str, Any]:
        return {"clamp": self.clamp}


class Statistics(NamedTuple):
    """Statistics of each feature: mean and variance in float64, minimum and maximum in float32."""

    mean: Tensor
    variance: Tensor
    low: Tensor
    high: Tensor


def _statistics(x: Inputs, name: str) -> Statistics:
    if len(x) == 0:
        raise DataError(f"{name} cannot be fitted: there are no training rows. Check the split.")
    from sklearn.preprocessing import MinMaxScaler, StandardScaler  # here, since a loaded encoder fits nothing

    ranges, moments = MinMaxScaler(copy=False), StandardScaler(copy=False)
    wide = np.empty(0)  # one for all pieces: freed and allocated anew, memory fragments
    for part in pieces(x):
        flat = part.detach().float().cpu().flatten(1)
        wide = wide if wide.size >= flat.numel() else np.empty(flat.numel())
        values = wide[: flat.numel()].reshape(flat.shape)
        values[:] = flat
        if not np.isfinite(values).all():
            first = int(np.isfinite(values).all(axis=0).argmin())
            raise DataError(
                f"{name} cannot be fitted: inputs must be finite, but feature {first} has NaN or infinity in the "
                "training rows. Impute or drop them."
            )
        ranges.partial_fit(values)
        moments.partial_fit(values)
    found = (moments.mean_, moments.var_, ranges.data_min_, ranges.data_max_)
    mean, variance, low, high = (torch.from_numpy(each).reshape(x.shape[1:]) for each in found)
    return Statistics(mean, variance, low.float(), high.float())


def _first(found: Tensor) -> int:
    """Index of the first feature for which ``found`` is true."""
    return int(found.flatten().nonzero()[0])
