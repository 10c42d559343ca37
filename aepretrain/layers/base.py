"""Base classes: stage modules, which have a loss, validation metrics and an optimizer, and layers, which encode."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from aepretrain.errors import ConfigError, DataError
from aepretrain.layers.hyperparameters import KeepsHyperparameters
from aepretrain.parts.activations import BernoulliUnits
from aepretrain.parts.noise import Noise
from aepretrain.parts.schedules import STEPWISE

Shape = tuple[int, ...]
OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class StageModule(KeepsHyperparameters, ABC):
    r"""Base class of the modules that a stage trains, in our own loop or a stock Lightning Trainer.

    .. math:: \min_\theta \; \mathbb E \, \ell_\theta(\text{example})

    A subclass implements :meth:`loss` and :meth:`validation_values`, and sets ``monitor``. ``Trainer().fit``,
    ``.validate`` and ``.test`` log the same metrics as our own loop: ``train/loss``, ``val/...`` and ``test/...``.

    Args:
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer. One of
            :data:`~aepretrain.parts.schedules.STEPWISE` steps after every update, ``ReduceLROnPlateau`` after every
            validation by the figure that decides, ``monitor``, any other after every epoch.
    """

    monitor: str
    """The validation metric that selects the best epoch, such as ``val/loss``."""
    mode: Literal["min", "max"] = "min"
    """Whether the monitored figure is better when it is smaller or larger."""
    share_weight = 1.0
    """Factor on the loss of a batch in a Trainer: not 1 where processes share an odd batch, 0 for no share of it."""

    def __init__(self, optimizer: OptimizerFactory, scheduler: SchedulerFactory | None) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.noise = Noise()

    @property
    def noise(self) -> Noise:
        """Source of the noise in :meth:`loss`: the global generator, which training replaces by a keyed one."""
        return self._noise

    @noise.setter
    def noise(self, noise: Noise) -> None:
        self._noise = noise
        for module in self.modules():
            if isinstance(module, BernoulliUnits):
                module.noise = noise

    @abstractmethod
    def loss(self, *batch: Tensor) -> Tensor:
        """Compute the training loss of a batch of tensors ``(B, ...)``, in nats per example, shape ``(B,)``."""

    @abstractmethod
    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        """Measure each example: name to values, shape ``(B,)``. Also updates the module's metrics."""

    def validation_totals(self) -> dict[str, Tensor]:
        """Measure all examples since the last call together: name to value, shape ``()``."""
        return {}

    def mean(self, values: Tensor) -> Tensor:
        """Average the values of a batch, shape ``(B,)``, to the value that is minimized or reported, shape ``()``."""
        return values.mean()

    def make_optimizer(self) -> Optimizer:
        """The optimizer of what is trained."""
        return self.optimizer(parameter for parameter in self.parameters() if parameter.requires_grad)

    def configure_optimizers(self) -> Any:
        """The optimizer, and the scheduler with when it steps and what it watches, as Lightning expects them.

        Raises:
            ConfigError: If a ``ReduceLROnPlateau`` was given a mode that contradicts :attr:`mode`.
        """
        optimizer = self.make_optimizer()
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        how = {"interval": "step" if isinstance(scheduler, STEPWISE) else "epoch"}
        if isinstance(scheduler, ReduceLROnPlateau):
            self._watch(scheduler)
            how["monitor"] = self.monitor
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **how}}

    def _watch(self, scheduler: ReduceLROnPlateau) -> None:
        """Let a scheduler take the monitored figure for better when it is, where its factory left that open."""
        given = self.scheduler.keywords.get("mode") if isinstance(self.scheduler, partial) else None
        if scheduler.mode == self.mode:
            return
        if given is not None or scheduler.mode == "max":  # torch's default is min
            larger = "larger" if self.mode == "max" else "smaller"
            raise ConfigError(
                f"ReduceLROnPlateau has mode {scheduler.mode}, but watches {self.monitor}, which decides and is better "
                f"when {larger}. Leave mode out, or set it to {self.mode}."
            )
        scheduler.mode = self.mode
        scheduler.best = scheduler.mode_worse = -float("inf")

    # What follows is for a stock Trainer; our own loop calls the methods above.

    def tensors_of(self, batch: Any) -> Sequence[Tensor]:
        """The tensors ``(B, ...)`` of a batch of any loader, which may be a single one.

        Raises:
            DataError: If the batch is no tensor, and no sequence of tensors.
        """
        tensors = (batch,) if isinstance(batch, Tensor) else batch
        if not isinstance(tensors, list | tuple) or not all(isinstance(each, Tensor) for each in tensors):
            held = "other values" if isinstance(batch, list | tuple) else type(batch).__name__
            raise DataError(f"a batch must hold tensors alone, but is or holds {held}. Let the loader give (inputs,).")
        return tensors

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        tensors = self.tensors_of(batch)
        loss = self.mean(self.loss(*tensors))
        examples = self._logged_size(len(tensors[0]) if self.share_weight else 0)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=examples, sync_dist=True)
        return loss * self.share_weight

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._log_means("val", self.tensors_of(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._log_means("test", self.tensors_of(batch))

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch if isinstance(batch, Tensor) else batch[0])

    def on_validation_epoch_end(self) -> None:
        self._log("val", self.validation_totals(), 1)

    def on_test_epoch_end(self) -> None:
        self._log("test", self.validation_totals(), 1)

    def _log_means(self, split: str, batch: Sequence[Tensor]) -> None:
        self._log(split, self.validation_values(*batch), len(batch[0]))

    def _log(self, split: str, values: Mapping[str, Tensor], examples: int) -> None:
        means = {f"{split}/{name}": value.float().mean() for name, value in values.items()}
        self.log_dict(means, batch_size=self._logged_size(examples), sync_dist=True)

    def _logged_size(self, examples: int) -> int:
        """What Lightning weighs a mean by: it takes the mean over processes of their sizes, and rounds that down."""
        return examples * (
            distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
        )


class Layer(StageModule, ABC):
    r"""Base class of the layers of a stack: trained without targets, they encode inputs for the layer above.

    A subclass implements :meth:`loss`, :meth:`validation_values` (at least ``loss`` and ``reconstruction``),
    :meth:`encode` and :attr:`encoder`; :meth:`decode` and :meth:`sample` are optional.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer.

    Example:
        >>> from aepretrain import Dense, SparseAutoencoder
        >>> layer: Layer = SparseAutoencoder((784,), Dense(64))
        >>> layer.loss(torch.rand(32, 784)).shape, layer.encode(torch.rand(32, 784)).shape
        (torch.Size([32]), torch.Size([32, 64]))
    """

    monitor = "val/reconstruction"
    code_shape: Shape
    """Shape of one code, without the batch dimension."""
    code_range: tuple[float, float]
    """The closed interval of code values."""
    compares_examples = False
    """Whether :meth:`generalization` is measured when training has ended, which takes the codes of training rows."""

    def __init__(
        self, in_shape: Sequence[int], optimizer: OptimizerFactory, scheduler: SchedulerFactory | None = None
    ) -> None:
        super().__init__(optimizer, scheduler)
        self.in_shape: Shape = tuple(in_shape)

    @classmethod
    def variant(cls) -> str:
        """Return the variant's name for file names and tables, such as ``denoising`` for ``DenoisingAutoencoder``."""
        return cls.__name__.removesuffix("Autoencoder").lower()

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Compute the code h = f(x) without noise: ``(B, *in_shape)`` to ``(B, *code_shape)``."""

    @property
    @abstractmethod
    def encoder(self) -> nn.Sequential:
        """The modules of f as a Sequential of plain torch modules, shared with the layer."""

    def decode(self, h: Tensor) -> Tensor:
        """Compute the expected input given a code, ``(B, *code_shape)`` to ``(B, *in_shape)``, in units of the input.

        Raises:
            NotImplementedError: If the layer has no decoder.
        """
        raise NotImplementedError(f"a {type(self).__name__} has no decoder.")

    def sample(self, h: Tensor) -> Tensor:
        """Draw inputs given a code: ``(B, *code_shape)`` to ``(B, *in_shape)``.

        Raises:
            NotImplementedError: If the layer cannot be sampled.
        """
        raise NotImplementedError(f"a {type(self).__name__} cannot be sampled.")

    def reconstruct(self, x: Tensor) -> Tensor:
        """Compute the expected input given the code of ``x``, shape ``(B, *in_shape)``, in units of the input."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the code, as :meth:`encode` does."""
        return self.encode(x)

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """Compute variant-specific diagnostics of validation inputs: name to values, shape ``(B,)``."""
        return {}

    def unit_diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """Figures of every unit of the code on examples ``(N, *in_shape)``: name to a mean per unit, shape ``(H,)``."""
        return {}

    def closing_figures(self, x: Tensor, noise: Noise) -> dict[str, float]:
        """Figures that are measured once, when training has ended, on examples ``(N, *in_shape)``: name to value."""
        return {}

    def generalization(self, train: Tensor, validation: Tensor) -> dict[str, float]:
        """Figures that compare examples of training with others, each ``(N, *in_shape)``; see ``compares_examples``."""
        return {}

    def mean_reconstruction(self, x: Tensor) -> float | None:
        """Reconstruction loss of answering with the mean of ``x``, in nats; ``None`` if the layer has no likelihood."""
        return None

    @torch.no_grad()
    def pictures(self, x: Tensor, noise: Noise) -> dict[str, Tensor]:
        """Return rows of images by name: the inputs ``(N, *in_shape)`` and their reconstructions."""
        return {"original": x, "reconstructed": self.reconstruct(x)}

    @property
    def narrowest(self) -> int:
        """The number of values at the narrowest point between input and code: the information bottleneck."""
        return torch.Size(self.code_shape).numel()

    @property
    def can_copy(self) -> bool:
        """Whether the layer can learn the identity: wider than the input throughout, and without a regularizer."""
        return False

    def check_shapes(self) -> None:
        """Run one example of zeros through the layer, so that mismatched parts fail before training.

        Raises:
            ValueError, RuntimeError: If the parts do not fit together.
        """
        self.encode(torch.zeros(1, *self.in_shape))

    def check_inputs(self, x: Tensor) -> None:
        """Raise a ValueError if the layer cannot model the inputs ``x``, shape ``(B, *in_shape)``."""

    def check_input_range(self, below: str, low: float, high: float) -> None:
        """Raise a ValueError if the layer cannot model the codes of the layer below, with values in ``[low, high]``.

        Args:
            below: The layer below, as named in the message, such as ``layer 0``.
            low: Smallest code value.
            high: Largest code value.
        """
