"""The abstract autoencoder: all that the variants share, which is everything but the equation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aepretrain.layers.diagnostics import CodeStatistics
from aepretrain.parts.coders import Coder
from aepretrain.parts.likelihoods import Gaussian, Likelihood
from aepretrain.parts.noise import Noise

Shape = tuple[int, ...]
OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class Autoencoder(LightningModule, ABC):
    r"""An encoder f and a decoder g, trained to minimize an energy that each variant fills in.

    .. math:: \min_{f, g} \; \mathbb E_x \, E(x), \qquad E(x) = L(x, g(f(x))) + \ldots

    Logged every epoch: ``train/loss``; on validation data ``val/loss`` (the energy), ``val/reconstruction``
    (:math:`L(x, g(f(x)))` without noise or penalty, hence comparable across variants), the statistics of the code
    (:class:`~aepretrain.layers.diagnostics.CodeStatistics`) and the variant's own :meth:`diagnostics`.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`.
        likelihood: :math:`L(x, y) = -\log p(x \mid y)`, in nats.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer; it steps once per epoch.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        coder: Coder,
        *,
        likelihood: Likelihood = Gaussian(),
        optimizer: OptimizerFactory = Adam,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__()
        self.in_shape: Shape = tuple(in_shape)
        self.coder = coder
        parts = coder.build(self.in_shape)
        self.f, self.g, self.code_shape = parts.encoder, parts.decoder, parts.code_shape
        self.L = likelihood
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.noise = Noise()
        """Where the noise of :meth:`energy` comes from. Training keys it."""
        self.code_statistics = CodeStatistics(self.code_shape)

    @classmethod
    def variant(cls) -> str:
        """The name of the variant in file names and tables: ``DenoisingAutoencoder`` is ``denoising``."""
        return cls.__name__.removesuffix("Autoencoder").lower()

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """What training minimizes: inputs ``(B, *in_shape)`` to nats per example ``(B,)``."""

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        """What tells whether this variant works, beyond its code: name to values ``(B,)`` on validation data."""
        return {}

    def encode(self, x: Tensor) -> Tensor:
        """The code h = f(x), without noise: ``(B, *in_shape)`` to ``(B, *code_shape)``."""
        return self.f(x)

    def decode(self, h: Tensor) -> Tensor:
        """The expected input given a code: ``(B, *code_shape)`` to ``(B, *in_shape)``, in units of the input."""
        return self.L.mean(self.g(h))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The expected input given the code of ``x``: shape ``(B, *in_shape)``, in units of the input."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """The code, as :meth:`encode`."""
        return self.encode(x)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return self.energy(batch[0]).mean()

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        x = batch[0]
        h = self.f(x)
        self.code_statistics.update(h)
        values = {"loss": self.energy(x), "reconstruction": self.L(x, self.g(h)), **self.diagnostics(x)}
        means = {f"val/{name}": value.mean() for name, value in values.items()}
        self.log_dict(means, batch_size=len(x), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        values = {f"val/{name}": value for name, value in self.code_statistics.compute().items()}
        self.log_dict(values, batch_size=1, sync_dist=True)
        self.code_statistics.reset()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        # The figure is for schedulers that ask for one, such as ReduceLROnPlateau; the others leave it.
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "monitor": "val/loss"}}

    @torch.no_grad()
    def is_regularized(self) -> bool:
        """Whether the energy is more than the plain reconstruction loss, found by trying both on random inputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            x = torch.rand(256, *self.in_shape).to(next(self.parameters()))
            return not torch.equal(self.energy(x), self.L(x, self.g(self.f(x))))

    def is_overcomplete(self) -> bool:
        """Whether even the narrowest layer of the encoder has more units than the input has values."""
        return self.coder.narrowest(self.in_shape) > torch.Size(self.in_shape).numel()
