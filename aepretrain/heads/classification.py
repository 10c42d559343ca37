"""A classifier head on an encoder: probe it as it is, or fine-tune it end to end."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Generator, Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from aepretrain.ensembles.linear import SeedLinear
from aepretrain.parts.corruptions import Dropout
from aepretrain.parts.precision import at_least_float32
from aepretrain.results.classifier import Measurement, PerClass


class Classifier(LightningModule):
    r"""An encoder and a linear head, trained to name the class.

    .. math:: \min_{W, b \,(, f)} \; \mathbb E_{x, y} \left[ -\log \mathrm{softmax}(W f(x) + b)_y \right]

    The head starts at zero, so that two classifiers on different encoders start from the same head.

    Args:
        encoder: The map ``(B, *in_shape) -> (B, H)``. A Sequential of Sequentials, as ``GreedyStack.encoder`` is, has
            one layer per entry; anything else counts as one layer.
        num_classes: Number of classes, at least 2.
        freeze_encoder: Train the head alone (a linear probe); else the whole is fine-tuned end to end.
        optimizer: Makes the optimizer from the parameter groups.
        scheduler: Makes the learning-rate scheduler from the optimizer; it steps once per epoch.
        dropout: Probability that a unit of a layer's code is dropped in training, in ``[0, 1)``.
        input_dropout: Probability that a value of the input is dropped in training, in ``[0, 1)``.
        max_norm: Largest norm of the weights that lead into a unit; kept after every step. ``None``: no bound.
        weight_decay: The optimizer's weight decay for weight matrices, and none for biases. ``None``: as the optimizer
            has it, for all.
        code_features: Width :math:`H` of the code; ``None`` is that of the encoder's last linear layer.
        layer_lr_decay: Factor on the learning rate per layer down from the head, in ``(0, 1]``: 1 trains all alike.
        label_smoothing: Share of the target that is spread over all classes, in ``[0, 1)``.

    Raises:
        ValueError: If a number lies outside its range.

    Reference:
        Bengio et al.: Greedy Layer-Wise Training of Deep Networks (2007); max-norm: Srivastava et al.: Dropout (2014),
        section 5.1; layer-wise rates: Howard, Ruder: Universal Language Model Fine-tuning (2018), section 3.2.

    Example:
        >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.Sigmoid()), num_classes=10)
        >>> model(torch.rand(32, 1, 28, 28)).shape
        torch.Size([32, 10])
    """

    matrix_ndim = 2
    """Dimensions of a weight matrix; 3 where those of many seeds lie side by side."""

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        *,
        freeze_encoder: bool = False,
        optimizer: Callable[[Iterable[Any]], Optimizer] = Adam,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        max_norm: float | None = None,
        weight_decay: float | None = None,
        code_features: int | None = None,
        layer_lr_decay: float = 1.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be >= 2, but got {num_classes}. With one there is nothing to learn.")
        if max_norm is not None and not 0 < max_norm < float("inf"):
            raise ValueError(f"max_norm must be > 0, but got {max_norm}. Published values are 2 to 4.")
        if weight_decay is not None and not 0 <= weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be >= 0, but got {weight_decay}. Usual values are 0 to 0.01.")
        if not 0 < layer_lr_decay <= 1:
            raise ValueError(f"layer_lr_decay must lie in (0, 1], but got {layer_lr_decay}. 1 trains all layers alike.")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), but got {label_smoothing}. A usual value is 0.1.")
        self.encoder = encoder
        self.head = nn.Linear(code_features or code_width(encoder), num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.num_classes = num_classes
        self.freeze_encoder = freeze_encoder
        self.encoder.requires_grad_(not freeze_encoder)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.input_dropout = Dropout(input_dropout)
        self.dropout = Dropout(dropout)
        self.max_norm = max_norm
        self.weight_decay = weight_decay
        self.layer_lr_decay = layer_lr_decay
        self.label_smoothing = label_smoothing
        self.noise: Generator | None = None
        """Where dropout's masks come from; ``None`` is the global generator. Training keys it."""
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of the encoder, from the input up: its entries if each is a Sequential, else the whole."""
        children = list(self.encoder.children())
        stacked = isinstance(self.encoder, nn.Sequential) and all(type(child) is nn.Sequential for child in children)
        return children if stacked else [self.encoder]

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of inputs ``(B, *in_shape)``."""
        h = self._drop(self.input_dropout, x)
        for layer in self.layers:
            h = self._drop(self.dropout, layer(h))
        return self.head(h)

    def _drop(self, dropout: Dropout, h: Tensor) -> Tensor:
        return dropout(h, self.noise) if self.training and dropout.p > 0 else h

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of inputs ``(B, *in_shape)`` with labels ``(B,)``, nats, mean over the batch."""
        smoothing = self.label_smoothing if self.training else 0.0
        return F.cross_entropy(at_least_float32(self(x)), y, label_smoothing=smoothing)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return self.loss(x, y)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = at_least_float32(self(x))
        self.accuracy.update(logits, y)
        self.log_dict({"val/loss": F.cross_entropy(logits, y)}, batch_size=len(x), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        accuracy = self.accuracy.compute()
        self.log_dict({"val/accuracy": accuracy, "val/error": 1 - accuracy}, batch_size=1, sync_dist=True)
        self.accuracy.reset()

    @torch.no_grad()
    def _bound_norms(self, *args: Any) -> None:
        assert self.max_norm is not None
        for module in self.modules():
            if isinstance(module, nn.Linear) and module.weight.requires_grad:
                module.weight.copy_(torch.renorm(module.weight, p=2, dim=0, maxnorm=self.max_norm))
            elif isinstance(module, SeedLinear) and module.weight.requires_grad:
                module.bound_norms(self.max_norm)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= self.layer_lr_decay ** group.pop("depth")
        if self.max_norm is not None:
            optimizer.register_step_post_hook(self._bound_norms)
        if self.scheduler is None:
            return optimizer
        # The figure is for schedulers that ask for one, such as ReduceLROnPlateau; the others leave it.
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "monitor": "val/loss"}}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights and biases of every trained layer, with ``depth`` counted down from the head."""
        trained = [self.head] if self.freeze_encoder else [self.head, *reversed(self.layers)]
        groups = []
        for depth, module in enumerate(trained):
            parameters = list(module.parameters())
            weights = [p for p in parameters if p.ndim >= self.matrix_ndim]
            biases = [p for p in parameters if p.ndim < self.matrix_ndim]
            weights_group, biases_group = {"params": weights, "depth": depth}, {"params": biases, "depth": depth}
            if self.weight_decay is not None:
                weights_group["weight_decay"], biases_group["weight_decay"] = self.weight_decay, 0.0
            groups += [weights_group, biases_group]
        return [group for group in groups if group["params"]]


def code_width(encoder: nn.Module) -> int:
    """The width H of an encoder's code, read off its last linear layer.

    Raises:
        ValueError: If the encoder has no linear layer.
    """
    widths = [module.out_features for module in encoder.modules() if isinstance(module, nn.Linear)]
    if not widths:
        raise ValueError("the width of the code is unknown: the encoder has no linear layer. Give code_features.")
    return widths[-1]


@torch.no_grad()
def evaluate_classifier(model: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 1024) -> Measurement:
    """Measure a classifier on labelled examples, in float32, where the model lies.

    Args:
        model: The classifier; it is left in evaluation mode.
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
    # Every process measures all examples by itself: summed over the processes they would count twice.
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
    correct = sum(row[label] for label, row in enumerate(values["confusion_matrix"]))
    return Measurement(
        accuracy=correct / len(y),
        error=1 - correct / len(y),
        loss=loss / len(y),
        examples=len(y),
        per_class=PerClass(values["recall"], values["precision"], values["f1"]),
        confusion_matrix=values["confusion_matrix"],
    )
