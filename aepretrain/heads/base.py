"""The abstract head: an encoder and a linear output, fine-tuned end to end or trained as a linear probe."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader, IterableDataset

from aepretrain.errors import DataError
from aepretrain.layers.base import OptimizerFactory, SchedulerFactory, StageModule
from aepretrain.parts.corruptions import Dropout
from aepretrain.parts.norms import clip_norms_
from aepretrain.results.classifier import Measurement
from aepretrain.results.head import HEADS
from aepretrain.results.regressor import RegressionMeasurement


class Head(StageModule, ABC):
    r"""Base class of heads: an encoder and a linear output. Subclasses add the loss and the metrics.

    .. math:: \min_{W, b \,(, f)} \; \mathbb E_{x, y} \, \ell(W f(x) + b, y)

    The output layer starts at zero, so heads on different encoders start with equal outputs. A subclass implements
    :meth:`loss`, :meth:`validation_values` and :meth:`measure`, and sets ``stage``, ``monitor``, ``mode`` and
    ``monitors``.

    Args:
        encoder: The map ``(B, *in_shape) -> (B, *code_shape)``; the head flattens the code. A Sequential of
            Sequentials, as ``GreedyStack.encoder`` is, has one layer per entry; anything else counts as one layer.
        outputs: Values that the head gives per example.
        freeze_encoder: Train the output alone (a linear probe). Else all parameters are fine-tuned, except
            those whose ``requires_grad`` was off before. What another head froze is trained again.
        freeze_layers: Number of lowest layers to freeze. Frozen modules stay in evaluation mode.
        optimizer: Makes the optimizer from the parameter groups.
        scheduler: Makes the learning-rate scheduler from the optimizer.
        dropout: Probability that a unit of a layer's code is dropped in training, in ``[0, 1)``.
        input_dropout: Probability that a value of the input is dropped in training, in ``[0, 1)``.
        max_norm: Largest norm of the incoming weights of a unit, enforced after every step; ``None`` for no bound.
        weight_decay: Weight decay for weight matrices; biases and 1-d parameters get none. ``None`` keeps the
            optimizer's own weight decay for all parameters.
        code_features: Size :math:`H` of one code; ``None`` infers it from the encoder: see :func:`code_width`.
        layer_lr_decay: Factor on the learning rate per layer down from the output, in ``(0, 1]``; 1 for equal rates.

    Raises:
        ValueError: If a number lies outside its range.

    Reference:
        Bengio et al.: Greedy Layer-Wise Training of Deep Networks (2007); max-norm: Srivastava et al.: Dropout (2014),
        section 5.1; layer-wise rates: Howard, Ruder: Universal Language Model Fine-tuning (2018), section 3.2.

    Example:
        >>> from aepretrain import Classifier
        >>> head: Head = Classifier(nn.Linear(8, 4), num_classes=3)
        >>> head.loss(torch.rand(32, 8), torch.arange(32) % 3).shape
        torch.Size([32])
    """

    stage: ClassVar[str]
    """Name of the stage that trains it, which says what it predicts: ``classifier`` or ``regressor``."""
    monitors: ClassVar[Mapping[str, Literal["min", "max"]]]
    """The validation figures that may choose the epoch, and whether the smallest or the largest is best."""

    def __init__(
        self,
        encoder: nn.Module,
        outputs: int,
        *,
        freeze_encoder: bool = False,
        freeze_layers: int = 0,
        optimizer: OptimizerFactory = Adam,
        scheduler: SchedulerFactory | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        max_norm: float | None = None,
        weight_decay: float | None = None,
        code_features: int | None = None,
        layer_lr_decay: float = 1.0,
    ) -> None:
        super().__init__(optimizer, scheduler)
        if max_norm is not None and not 0 < max_norm < float("inf"):
            raise ValueError(f"max_norm must be > 0, but got {max_norm}. Published values are 2 to 4.")
        if weight_decay is not None and not 0 <= weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be >= 0, but got {weight_decay}. Usual values are 0 to 0.01.")
        if not 0 < layer_lr_decay <= 1:
            raise ValueError(f"layer_lr_decay must lie in (0, 1], but got {layer_lr_decay}. 1 trains all layers alike.")
        self.encoder = encoder
        self.head = nn.Linear(code_features or code_width(encoder), outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.freeze_encoder = freeze_encoder
        self.freeze_layers = freeze_layers
        if not 0 <= freeze_layers <= len(self.layers):
            raise ValueError(
                f"freeze_layers must lie between 0 and the encoder's {len(self.layers)} layers, but got "
                f"{freeze_layers}. 0 trains all of them."
            )
        _thaw(encoder)
        for module in [self.encoder] if freeze_encoder else self.layers[:freeze_layers]:
            _freeze(module)
        self.input_dropout = Dropout(input_dropout)
        self.dropout = Dropout(dropout)
        self.max_norm = max_norm
        self.weight_decay = weight_decay
        self.layer_lr_decay = layer_lr_decay

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if (stage := getattr(cls, "stage", HEADS[0])) not in HEADS:
            raise TypeError(f"the stage of {cls.__name__} must be {' or '.join(HEADS)}, but is {stage!r}.")

    @property
    def needs_targets(self) -> bool:
        """Whether :meth:`fit_targets` has to be called before training, and what it fits did not come with weights."""
        return False

    @property
    def predicts_classes(self) -> bool:
        """Whether the outputs are scores of classes, of which a softmax makes probabilities; else they are values."""
        return self.stage == HEADS[0]

    def watch(self, name: str) -> None:
        """Let a validation figure of :attr:`monitors` choose the epoch.

        Raises:
            ValueError: If the head does not measure it.
        """
        if name not in self.monitors:
            raise ValueError(f"monitor must be one of {', '.join(self.monitors)}, but got {name!r}. Name one of these.")
        self.monitor, self.mode = f"val/{name}", self.monitors[name]

    def fit_targets(self, y: Tensor) -> None:
        """Called with all training targets, shape ``(N, ...)``, before the first step; a subclass may learn from them.

        In a stock Trainer it is called with those of its loader, if :attr:`needs_targets`.
        """

    @abstractmethod
    def measure(self, x: Tensor, y: Tensor, *, batch_size: int = 1024) -> Measurement | RegressionMeasurement:
        """Measure the head on examples ``(N, *in_shape)`` and targets ``(N, ...)``, in evaluation mode."""

    @torch.no_grad()
    def predict(self, x: Tensor, *, batch_size: int = 1024) -> NDArray[np.float64]:
        """The outputs of inputs ``(N, *in_shape)`` in evaluation mode, shape ``(N, outputs)``."""
        self.eval()
        return torch.cat([self(part.to(self.device)).cpu().double() for part in x.split(batch_size)]).numpy()

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of the encoder, input first: its entries if all are Sequentials, else the whole encoder."""
        children = list(self.encoder.children())
        stacked = isinstance(self.encoder, nn.Sequential) and all(type(child) is nn.Sequential for child in children)
        return children if stacked else [self.encoder]

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is frozen of the encoder stays in evaluation mode."""
        super().train(mode)
        for module in [self.encoder] if self.freeze_encoder else self.layers[: self.freeze_layers]:
            module.eval()
        for module in self.encoder.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output ``(B, outputs)`` of inputs ``(B, *in_shape)``."""
        h = self._drop(self.input_dropout, x)
        for layer in self.layers:
            h = self._drop(self.dropout, layer(h))
        return self.head(h.flatten(1))

    def tensors_of(self, batch: Any) -> Sequence[Tensor]:
        tensors = super().tensors_of(batch)
        if len(tensors) != 2:
            raise DataError(
                f"a {type(self).__name__} takes batches of inputs and targets, but this one has {len(tensors)} "
                f"tensor{'s' if len(tensors) != 1 else ''}. Give data with labels."
            )
        return tensors

    def on_train_start(self) -> None:
        """Show the head the targets of a Trainer's loader, if it needs them."""
        if not self.needs_targets:
            return
        y = self._targets_of(self.trainer.train_dataloader)
        if y is None:
            words = "has not seen the targets, as the loader has no length: call its fit_targets before"
            warnings.warn(f"{type(self).__name__} {words}.", stacklevel=2)
            return
        if self.trainer.world_size > 1:
            shares: list[Any] = [None] * self.trainer.world_size
            distributed.all_gather_object(shares, y)
            y = torch.cat(shares)
        self.fit_targets(y)

    def _targets_of(self, loader: Any) -> Tensor | None:
        """The targets of a loader of this process; ``None`` if it may have no end. Its order stays what it would be."""
        if not hasattr(loader, "__len__") or isinstance(getattr(loader, "dataset", None), IterableDataset):
            return None
        generator = None
        if isinstance(loader, DataLoader):  # another one, as workers that persist are read once
            generator = getattr(loader.sampler, "generator", None)
            loader = DataLoader(loader.dataset, batch_sampler=loader.batch_sampler, collate_fn=loader.collate_fn)
        state = None if generator is None else generator.get_state()
        with torch.random.fork_rng(devices=[]):
            y = torch.cat([self.tensors_of(batch)[1].cpu() for batch in loader])
        if generator is not None:
            generator.set_state(state)
        return y

    def _drop(self, dropout: Dropout, h: Tensor) -> Tensor:
        return dropout(h, self.noise) if self.training and dropout.p > 0 else h

    @torch.no_grad()
    def _bound_norms(self, *args: Any) -> None:
        assert self.max_norm is not None
        for module in self.modules():
            clip_norms_(module, self.max_norm)

    def make_optimizer(self) -> Optimizer:
        optimizer = self.optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= self.layer_lr_decay ** group.pop("depth")
        if self.max_norm is not None:
            optimizer.register_step_post_hook(self._bound_norms)
        return optimizer

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Weights and biases of every layer that are trained, with ``depth`` counted down from the output."""
        groups = []
        for depth, module in enumerate([self.head, *reversed(self.layers)]):
            named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
            weights = {"params": [p for name, p in named if _is_decayed(name, p)], "depth": depth}
            biases = {"params": [p for name, p in named if not _is_decayed(name, p)], "depth": depth}
            if self.weight_decay is not None:
                weights["weight_decay"], biases["weight_decay"] = self.weight_decay, 0.0
            groups += [weights, biases]
        return [group for group in groups if group["params"]]


def _freeze(module: nn.Module) -> None:
    """Switch off the gradients of a module, and remember where that was done here and not by the user."""
    for part in module.modules():
        own = [name for name, weights in part.named_parameters(recurse=False) if weights.requires_grad]
        if own:
            part.frozen_by_head = own  # type: ignore[assignment]
    module.requires_grad_(False)


def _thaw(module: nn.Module) -> None:
    """Take back what another head froze of a module, such as a probe before fine-tuning."""
    for part in module.modules():
        for name in vars(part).pop("frozen_by_head", ()):
            part.get_parameter(name).requires_grad_(True)


def _is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies to a parameter: to weight matrices and kernels, not to biases and scales."""
    return parameter.ndim >= 2 and not name.endswith("bias")


@torch.no_grad()
def code_width(encoder: nn.Module) -> int:
    """Infer the number of values of one code.

    An encoder with an attribute ``in_shape``, such as that of a stack or a loaded one, is run on zeros. Otherwise the
    width is that of the last linear layer.

    Raises:
        ValueError: If the encoder has no ``in_shape``, and its last module with weights is not a linear layer.

    Example:
        >>> code_width(GreedyStack((1, 28, 28), [lambda s: PlainAutoencoder(s, Dense(64))]).encoder)
        64
    """
    if (in_shape := getattr(encoder, "in_shape", None)) is not None:
        return deepcopy(encoder).cpu().float().eval()(torch.zeros(1, *in_shape)).numel()
    maps = [module for module in encoder.modules() if any(p.ndim > 1 for p in module.parameters(recurse=False))]
    if not maps or not isinstance(maps[-1], nn.Linear):
        raise ValueError("the width of the code is unknown: no linear layer of the encoder tells. Give code_features.")
    return maps[-1].out_features
