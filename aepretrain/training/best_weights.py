"""The weights of the best epoch, and early stopping."""

from typing import Any

import torch
from torch import Tensor

from aepretrain.layers.base import StageModule
from aepretrain.training.validation import Metrics


class BestWeights:
    """Keeps the weights of the best epoch, and counts validations without improvement.

    An epoch is better if its monitored metric is better, or equal with a smaller ``val/loss``: an accuracy often stays
    the same while the probabilities still improve.

    Every process keeps its own copy: the metric is the mean over all processes, so they choose the same epoch.

    Args:
        monitor: Name of the monitored metric.
        mode: ``min`` or ``max``.
        patience: Validations without improvement after which training stops; ``None``: never.
        keeps: Whether the best weights are kept, to be restored at the end.
    """

    def __init__(self, monitor: str, mode: str, *, patience: int | None = None, keeps: bool = True) -> None:
        self.monitor = monitor
        self.sign = {"min": -1.0, "max": 1.0}[mode]
        self.patience = patience
        self.keeps = keeps
        self.best = (-float("inf"), -float("inf"))
        self.epoch = -1
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    def update(self, module: StageModule, figures: Metrics, epoch: int) -> None:
        """Compare the metrics of a validation with the best so far; if they are better, keep the weights."""
        score = self.scores(figures)[0]
        if score > self.best:
            self.best, self.epoch, self.waited = score, epoch, 0
            if self.keeps:
                self.weights = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        else:
            self.waited += 1

    def scores(self, figures: Metrics) -> list[tuple[float, float]]:
        """The monitored metric and the negative loss, larger is better: one pair, or one per seed of an ensemble."""
        watched = figures[self.monitor]
        losses = figures.get("val/loss", watched.new_zeros(()))
        watched, losses = torch.broadcast_tensors(self.sign * watched, -losses)
        return list(zip(watched.reshape(-1).tolist(), losses.reshape(-1).tolist(), strict=True))

    @property
    def is_patience_over(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def restore(self, module: StageModule) -> None:
        """Load the weights of the best epoch into a module, if they were kept."""
        if self.weights:
            module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, as plain values and tensors."""
        return {"best": self.best, "epoch": self.epoch, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best, self.epoch, self.waited = tuple(state["best"]), state["epoch"], state["waited"]
        self.weights = dict(state["weights"])
