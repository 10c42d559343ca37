"""Regression: a head that predicts numbers."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric

from aepretrain.heads.base import Head
from aepretrain.heads.regression_metrics import measure_predictions
from aepretrain.parts.likelihoods import Gaussian
from aepretrain.parts.precision import at_least_float32
from aepretrain.results.regressor import RegressionMeasurement


class Regressor(Head):
    r"""An encoder and a linear head, trained to predict numbers.

    .. math:: \ell(x, y) = \tfrac12 \left\lVert \frac{y - \hat y(x)}{s} \right\rVert^2, \qquad
        \hat y(x) = m + s \odot (W f(x) + b)

    Mean m and standard deviation s of the training targets are taken by :meth:`fit_targets`, which
    :func:`~aepretrain.finetune` and a stock Trainer call, and saved with the weights; without it, m = 0 and s = 1.
    Outputs and metrics are in units of the targets.

    Args:
        encoder: The map ``(B, *in_shape) -> (B, *code_shape)``.
        targets: Number of targets per example, at least 1.
        kwargs: Passed to :class:`~aepretrain.heads.base.Head`.

    Raises:
        ValueError: If a number lies outside its range.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 6.2.2.1.

    Example:
        >>> model = Regressor(nn.Sequential(nn.Linear(8, 4), nn.Sigmoid()), targets=1)
        >>> model(torch.rand(32, 8)).shape
        torch.Size([32, 1])
        >>> model.fit_targets(torch.tensor([150.0, 152.0]))
        >>> model(torch.rand(1, 8))
        tensor([[151.]], grad_fn=<AddBackward0>)
    """

    stage = "regressor"
    monitor = "val/loss"
    monitors: ClassVar[Mapping[str, Literal["min", "max"]]] = {"loss": "min", "r2": "max", "rmse": "min", "mae": "min"}
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, encoder: nn.Module, targets: int = 1, **kwargs: Any) -> None:
        if targets < 1:
            raise ValueError(f"targets must be >= 1, but got {targets}. With none there is nothing to learn.")
        super().__init__(encoder, targets, **kwargs)
        self.targets = targets
        self.register_buffer("target_mean", torch.zeros(targets))
        self.register_buffer("target_scale", torch.ones(targets))
        self.errors = _Errors(targets)

    def fit_targets(self, y: Tensor) -> None:
        y = y.detach().cpu().double().reshape(len(y), self.targets)
        deviation = y.std(dim=0, correction=0)
        self.target_mean.copy_(y.mean(dim=0))
        self.target_scale.copy_(torch.where(deviation > 0, deviation, 1.0))

    @property
    def needs_targets(self) -> bool:
        return not self.target_mean.any() and bool((self.target_scale == 1).all())

    def forward(self, x: Tensor) -> Tensor:
        """Compute the predictions ``(B, targets)`` of inputs ``(B, *in_shape)``, in units of the targets."""
        return self.target_mean + self.target_scale * at_least_float32(super().forward(x))

    def loss(self, *batch: Tensor) -> Tensor:
        """Compute half the squared error of inputs ``(B, *in_shape)`` and targets ``(B, targets)`` or ``(B,)``.

        Targets and predictions are scaled by the training targets before. Shape ``(B,)``.
        """
        x, y = batch
        return Gaussian()(self._scaled(y), super().forward(x))

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        x, y = batch
        targets, outputs = self._scaled(y), at_least_float32(super().forward(x))
        self.errors.update(targets, outputs)
        return {"loss": Gaussian()(targets, outputs)}

    def validation_totals(self) -> dict[str, Tensor]:
        totals = self.errors.compute()
        self.errors.reset()
        scale = self.target_scale
        return {
            "r2": _r2(totals["squared"].sum(), totals["spread"].sum()),
            "rmse": (scale.square() * totals["squared"]).mean().sqrt(),
            "mae": (scale * totals["absolute"]).mean(),
        }

    def measure(self, x: Tensor, y: Tensor, *, batch_size: int = 1024) -> RegressionMeasurement:
        return self.score(y, self.predict(x, batch_size=batch_size))

    @torch.no_grad()
    def predict(self, x: Tensor, *, batch_size: int = 1024) -> NDArray[np.float64]:
        """Predict the targets of inputs ``(N, *in_shape)`` in evaluation mode, shape ``(N, targets)``."""
        self.eval()
        parts = [super(Regressor, self).forward(part.to(self.device)).cpu() for part in x.split(batch_size)]
        scale, mean = (each.cpu().double() for each in (self.target_scale, self.target_mean))
        return (mean + scale * torch.cat(parts).double()).numpy()

    def score(self, y: Tensor, predictions: NDArray[np.float64]) -> RegressionMeasurement:
        """Measure predictions ``(N, targets)`` of targets ``(N, targets)`` or ``(N,)``."""
        targets = y.cpu().double().reshape(len(y), self.targets).numpy()
        return measure_predictions(targets, predictions, self.target_scale.cpu().double().numpy())

    def _scaled(self, y: Tensor) -> Tensor:
        return (y.reshape(len(y), self.targets) - self.target_mean) / self.target_scale


class _Errors(Metric):
    """Mean errors and the spread of all examples since the last reset, one value per target, over all processes."""

    full_state_update = False
    count: Tensor
    sums: Tensor

    def __init__(self, targets: int) -> None:
        super().__init__()
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("sums", torch.zeros(4, targets), dist_reduce_fx="sum")

    def update(self, targets: Tensor, predictions: Tensor) -> None:
        errors = (targets - predictions).detach()
        parts = [errors.square(), errors.abs(), targets, targets.square()]
        self.count += len(targets)
        self.sums += torch.stack([part.sum(dim=0) for part in parts])

    def compute(self) -> dict[str, Tensor]:
        squared, absolute, mean, power = self.sums / self.count
        return {"squared": squared, "absolute": absolute, "spread": (power - mean.square()).clamp(min=0)}


def _r2(squared: Tensor, spread: Tensor) -> Tensor:
    """R², which is 1 or 0 if all targets are equal, as in scikit-learn."""
    return torch.where(spread > 0, 1 - squared / spread, (squared == 0).to(squared.dtype))
