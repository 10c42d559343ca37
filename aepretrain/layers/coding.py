"""The abstract coding layer: an encoder, a decoder and a likelihood, with all that follows from them."""

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
from aepretrain.parts.noise import Noise


class CodingLayer(Layer, ABC):
    r"""Base class of layers with an encoder f and a decoder g, trained to minimize an energy.

    .. math:: \min_{f, g} \; \mathbb E_x \, E(x), \qquad h = f(x), \qquad x \sim p(x \mid g(h))

    Validation measures ``loss`` (the energy), ``reconstruction`` (:math:`L(x, g(f(x)))` without noise or penalty, hence
    comparable across layers), for sparse coders ``l0`` (the number of units that are not zero), the :meth:`diagnostics`
    and the :class:`~aepretrain.layers.diagnostics.CodeStatistics`.

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
        self.noise = Noise()  # of stochastic units, too
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

    def sample(self, h: Tensor) -> Tensor:
        return self.L.sample(self.g(h), self.noise)

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        x = batch[0]
        h = self.f(x)
        self.code_statistics.update(h)
        l0 = {"l0": (h != 0).flatten(1).sum(dim=1).float()} if self.coder.is_sparse else {}
        return {"loss": self.energy(x), "reconstruction": self.L(x, self.g(h)), **l0, **self.diagnostics(x)}

    def make_optimizer(self) -> Optimizer:
        return self.projecting(super().make_optimizer())

    def projecting(self, optimizer: Optimizer) -> Optimizer:
        """Let an optimizer project the decoder after every update, if the coder asks for it."""
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

    def check_shapes(self) -> None:
        x, is_training = torch.zeros(1, *self.in_shape), self.training
        self.eval()  # batch norms refuse a single row in training, and would count it
        self.L(x, self.g(self.f(x)))
        self.train(is_training)

    def check_inputs(self, x: Tensor) -> None:
        self.L.check(x)

    def check_input_range(self, below: str, low: float, high: float) -> None:
        self.L.check_codes(below, low, high)
