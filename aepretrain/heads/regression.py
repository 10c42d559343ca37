"""Regression: a head that predicts numbers."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from aepretrain.heads.base import Head
from aepretrain.parts.likelihoods import Gaussian


class Regressor(Head):
    r"""An encoder and a linear head, trained to predict numbers.

    .. math:: \ell(x, y) = \tfrac12 \lVert y - (W f(x) + b) \rVert^2

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
    """

    monitor = "val/loss"
    monitors: ClassVar[Mapping[str, Literal["min", "max"]]] = {"loss": "min"}

    def __init__(self, encoder: nn.Module, targets: int = 1, **kwargs: Any) -> None:
        if targets < 1:
            raise ValueError(f"targets must be >= 1, but got {targets}. With none there is nothing to learn.")
        super().__init__(encoder, targets, **kwargs)
        self.targets = targets

    def loss(self, *batch: Tensor) -> Tensor:
        """Compute half the squared error of inputs ``(B, *in_shape)`` and targets ``(B, targets)`` or ``(B,)``."""
        x, y = batch
        return Gaussian()(y.reshape(len(x), self.targets), self(x))

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        return {"loss": self.loss(*batch)}

    @torch.no_grad()
    def measure(self, x: Tensor, y: Tensor, *, batch_size: int = 1024) -> dict[str, Any]:
        """Return ``rmse`` (in units of the targets), ``r2`` (1: perfect, 0: the mean), ``loss`` and ``examples``."""
        self.eval()
        parts = [self(part.to(self.device)).cpu() for part in x.split(batch_size)]
        answers, targets = torch.cat(parts).double(), y.reshape(len(x), self.targets).double()
        squared, spread = (answers - targets).square(), (targets - targets.mean(dim=0)).square()
        return {
            "rmse": squared.mean().sqrt().item(),
            "r2": 1 - (squared.sum() / spread.sum()).item(),
            "loss": 0.5 * squared.sum(dim=1).mean().item(),
            "examples": len(x),
        }
