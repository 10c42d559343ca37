"""Classification: a head that predicts the class."""

import math
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAveragePrecision,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    MulticlassStatScores,
)

from aepretrain.heads.base import Head
from aepretrain.parts.precision import at_least_float32
from aepretrain.results.classifier import Measurement, PerClass


class Classifier(Head):
    r"""An encoder and a linear head, trained to classify.

    .. math:: \ell(x, y) = -\log \mathrm{softmax}(W f(x) + b)_y

    Args:
        encoder: The map ``(B, *in_shape) -> (B, *code_shape)``.
        num_classes: Number of classes, at least 2.
        label_smoothing: Fraction of the target that is spread over all classes, in ``[0, 1)``.
        class_weights: Factor on the training loss of each class's examples: ``balanced`` gives every class the same
            total weight, :math:`N / (C \, N_c)`; a list has one number per class; ``None`` counts all examples alike.
        kwargs: Passed to :class:`~aepretrain.heads.base.Head`.

    Raises:
        ValueError: If a number lies outside its range.

    Reference:
        Goodfellow, Bengio, Courville: Deep Learning (2016), section 6.2.2.3; label smoothing: section 7.5.1.

    Example:
        >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.Sigmoid()), num_classes=10)
        >>> model(torch.rand(32, 1, 28, 28)).shape
        torch.Size([32, 10])
    """

    stage = "classifier"
    monitor = "val/accuracy"
    mode = "max"
    monitors: ClassVar[Mapping[str, Literal["min", "max"]]] = {
        "accuracy": "max",
        "balanced_accuracy": "max",
        "average_precision": "max",
        "loss": "min",
    }
    class_weight: Tensor | None

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        *,
        label_smoothing: float = 0.0,
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes must be >= 2, but got {num_classes}. With one there is nothing to learn.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), but got {label_smoothing}. A usual value is 0.1.")
        _check_weights(class_weights, num_classes)
        super().__init__(encoder, num_classes, **kwargs)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        given = None if class_weights is None or isinstance(class_weights, str) else torch.tensor(class_weights)
        self.register_buffer("class_weight", given, persistent=False)
        self.counts = MulticlassStatScores(num_classes, average=None)
        self.average_precision = MulticlassAveragePrecision(num_classes, average=None)

    @property
    def needs_targets(self) -> bool:
        return self.class_weights is not None and self.class_weight is None

    def fit_targets(self, y: Tensor) -> None:
        if self.class_weights == "balanced":
            counts = y.cpu().bincount(minlength=self.num_classes)
            self.class_weight = (len(y) / (self.num_classes * counts.clamp(min=1))).to(self.device)

    def loss(self, *batch: Tensor) -> Tensor:
        """Compute the cross-entropy of inputs ``(B, *in_shape)`` and labels ``(B,)``, in nats, shape ``(B,)``."""
        x, y = batch
        if self.class_weights is not None and self.class_weight is None:
            raise ValueError("class_weights balanced needs labels: call fit_targets(y), or give a number per class.")
        weight, smoothing = (self.class_weight, self.label_smoothing) if self.training else (None, 0.0)
        logits = at_least_float32(self(x))
        weight = None if weight is None else weight.to(logits.dtype)
        return F.cross_entropy(logits, y, weight, reduction="none", label_smoothing=smoothing)

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        x, y = batch
        logits = at_least_float32(self(x))
        self.counts.update(logits, y)
        if self.monitor == "val/average_precision":
            self.average_precision.update(logits.softmax(dim=1), y)
        return {"loss": F.cross_entropy(logits, y, reduction="none")}

    def validation_totals(self) -> dict[str, Tensor]:
        hits, _, _, _, support = self.counts.compute().unbind(dim=1)
        self.counts.reset()
        accuracy = hits.sum() / support.sum()
        recall = (hits / support)[support > 0]
        totals = {"accuracy": accuracy, "error": 1 - accuracy, "balanced_accuracy": recall.mean()}
        if self.monitor == "val/average_precision":
            totals["average_precision"] = self.average_precision.compute().nanmean()
            self.average_precision.reset()
        return totals

    def measure(self, x: Tensor, y: Tensor, *, batch_size: int = 1024) -> Measurement:
        return evaluate_classifier(self, x, y, batch_size=batch_size)


@torch.no_grad()
def evaluate_classifier(model: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 1024) -> Measurement:
    """Measure a classifier on labelled examples, on the model's device.

    Args:
        model: The classifier; left in evaluation mode.
        x: Inputs, shape ``(N, *in_shape)``.
        y: Labels, shape ``(N,)``.
        batch_size: Examples per forward pass.

    Example:
        >>> model = Classifier(nn.Linear(4, 3), num_classes=2)
        >>> evaluate_classifier(model, torch.zeros(6, 4), torch.tensor([0, 0, 0, 1, 1, 1])).confusion_matrix
        [[3, 0], [3, 0]]
    """
    model.eval()
    classes = model.num_classes
    # Every process measures all examples, so a sum over the processes would count them repeatedly.
    metrics = MetricCollection(
        {
            "recall": MulticlassRecall(classes, average=None, sync_on_compute=False),
            "precision": MulticlassPrecision(classes, average=None, sync_on_compute=False),
            "f1": MulticlassF1Score(classes, average=None, sync_on_compute=False),
            "confusion_matrix": MulticlassConfusionMatrix(classes, sync_on_compute=False),
        }
    ).to(model.device)
    loss = 0.0
    for x_batch, y_batch in zip(x.split(batch_size), y.split(batch_size), strict=True):
        logits, target = model(x_batch.to(model.device)), y_batch.to(model.device)
        metrics.update(logits, target)
        loss += F.cross_entropy(logits, target, reduction="sum").item()
    values = {name: value.tolist() for name, value in metrics.compute().items()}
    occurring = [sum(row) > 0 for row in values["confusion_matrix"]]
    correct = sum(row[label] for label, row in enumerate(values["confusion_matrix"]))
    return Measurement(
        accuracy=correct / len(y),
        error=1 - correct / len(y),
        loss=loss / len(y),
        examples=len(y),
        per_class=PerClass(values["recall"], values["precision"], values["f1"]),
        confusion_matrix=values["confusion_matrix"],
        balanced_accuracy=sum(compress(values["recall"], occurring)) / sum(occurring),
    )


def _check_weights(weights: str | Sequence[float] | None, num_classes: int) -> None:
    if weights is None or weights == "balanced":
        return
    if isinstance(weights, str) or len(weights) != num_classes or not all(0 < value < math.inf for value in weights):
        raise ValueError(
            f"class_weights must be balanced or {num_classes} positive numbers, one per class, but got {weights!r}."
        )
