"""The abstract autoencoder: everything that the variants share, that is, all but the energy."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from aepretrain.layers.base import Layer, OptimizerFactory, SchedulerFactory
from aepretrain.layers.diagnostics import CodeStatistics, mean_reconstruction
from aepretrain.parts.coders import Coder, flatten_encoder
from aepretrain.parts.likelihoods import Gaussian, Likelihood


class Autoencoder(Layer, ABC):
    r"""An encoder f and a decoder g, trained to minimize an energy that each variant defines.

    .. math:: \min_{f, g} \; \mathbb E_x \, E(x), \qquad E(x) = L(x, g(f(x))) + \ldots

    Validation measures ``loss`` (the energy), ``reconstruction`` (:math:`L(x, g(f(x)))` without noise or penalty, hence
    comparable across variants), the variant's :meth:`diagnostics`, the
    :class:`~aepretrain.layers.diagnostics.CodeStatistics` and, for sparse coders, ``l0``: how many units are not zero.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`.
        likelihood: :math:`L(x, y) = -\log p(x \mid y)`, in nats.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer.
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
        super().__init__(in_shape, optimizer, scheduler)
        self.coder = coder
        parts = coder.build(self.in_shape)
        self.f, self.g, self.code_shape = parts.encoder, parts.decoder, parts.code_shape
        self.code_range = coder.code_range
        self.L = likelihood
        self.code_statistics = CodeStatistics(self.code_shape, self.code_range)

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """Compute the training objective of inputs ``(B, *in_shape)``, in nats per example ``(B,)``."""

    def loss(self, *batch: Tensor) -> Tensor:
        return self.energy(batch[0])

    def encode(self, x: Tensor) -> Tensor:
        return self.f(x)

    def decode(self, h: Tensor) -> Tensor:
        return self.L.mean(self.g(h))

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        x = batch[0]
        h = self.f(x)
        self.code_statistics.update(h)
        l0 = {"l0": (h != 0).flatten(1).sum(dim=1).float()} if self.coder.is_sparse else {}
        return {"loss": self.energy(x), "reconstruction": self.L(x, self.g(h)), **l0, **self.diagnostics(x)}

    def make_optimizer(self) -> Optimizer:
        optimizer = super().make_optimizer()
        if self.coder.projection is not None:
            optimizer.register_step_post_hook(self._project)
        return optimizer

    def _project(self, *args: Any) -> None:
        assert self.coder.projection is not None
        self.coder.projection(self.g)

    def validation_totals(self) -> dict[str, Tensor]:
        totals = self.code_statistics.compute()
        self.code_statistics.reset()
        return totals

    def mean_reconstruction(self, x: Tensor) -> float | None:
        return mean_reconstruction(self.L, x)

    @property
    def encoder(self) -> nn.Sequential:
        return flatten_encoder(self.f)

    @property
    def narrowest(self) -> int:
        return self.coder.narrowest(self.in_shape)

    @property
    def can_copy(self) -> bool:
        return self.narrowest > torch.Size(self.in_shape).numel() and not self.is_regularized()

    @torch.no_grad()
    def is_regularized(self) -> bool:
        """Whether the energy differs from the plain reconstruction loss on random inputs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            x = torch.rand(256, *self.in_shape).to(next(self.parameters()))
            buffers = {name: buffer.clone() for name, buffer in self.named_buffers()}
            is_plain = torch.equal(self.energy(x), self.L(x, self.g(self.f(x))))
            for name, buffer in self.named_buffers():  # the statistics of batch norms
                buffer.copy_(buffers[name])
            return not is_plain

    def check_shapes(self) -> None:
        x, is_training = torch.zeros(1, *self.in_shape), self.training
        self.eval()  # batch norms refuse a single row in training, and would count it
        self.L(x, self.g(self.f(x)))
        self.train(is_training)

    def check_inputs(self, x: Tensor) -> None:
        self.L.check(x)

    def check_input_range(self, below: str, low: float, high: float) -> None:
        self.L.check_codes(below, low, high)
