"""The restricted Boltzmann machine."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed
from torch.optim import SGD

from aepretrain.layers.base import OptimizerFactory, SchedulerFactory
from aepretrain.layers.coding import CodingLayer
from aepretrain.parts.coders import Coder
from aepretrain.parts.dense import Dense
from aepretrain.parts.likelihoods import Bernoulli, Likelihood
from aepretrain.parts.penalties import KLSparsity, SparsityPenalty
from aepretrain.parts.precision import at_least_float32


class RestrictedBoltzmannMachine(CodingLayer):
    r"""A joint distribution of inputs x and binary units h, trained by contrastive divergence.

    .. math::
        p(x, h) &= \tfrac1Z \exp(h^\top W x + b^\top h - L(x, c)) \\
        F(x) &= -\log \textstyle\sum_h Z \, p(x, h) = L(x, c) - \sum_j \log(1 + \exp(W x + b)_j) \\
        E(x) &= F(x) - \overline{F(\tilde x)} + \lambda \, \Omega(h), \quad \tilde x \text{ from } k \text{ Gibbs steps}

    The conditional distributions are the encoder and the decoder, whose weights are tied:
    :math:`h = f(x) = p(h = 1 \mid x) = \sigma(W x + b)` and :math:`p(x \mid h)` with :math:`g(h) = W^\top h + c`.
    :math:`\tilde x` is held fixed and F is averaged over its rows, so the gradient of E is that of contrastive
    divergence. The likelihood chooses the kind of visible units: ``Bernoulli``, ``Gaussian`` of unit variance, or
    those of a table, ``Mixed``. For Bernoulli units, F exceeds that of the textbooks, :math:`-c^\top x - \ldots`, by
    the constant :math:`\sum_i \log(1 + \exp c_i)`, which :math:`\log Z` takes off again.

    Momentum and weight decay are those of the optimizer. Standardized Gaussian inputs need a smaller learning rate,
    about a tenth.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: A ``Dense`` of one sigmoid layer; its weights are tied in any case.
        cd_steps: Steps k of Gibbs sampling for each update.
        persistent: Number of persistent chains, which go on from update to update; with 0, every chain starts at an
            input of the batch.
        lam: Weight :math:`\lambda \ge 0` of the sparsity penalty, in nats.
        penalty: :math:`\Omega`: a target for the mean activity of every unit, or ``L1``.
        likelihood: :math:`L(x, y) = -\log p(x \mid y)`, in nats.
        optimizer: Makes the optimizer from the parameters.
        scheduler: Makes the learning-rate scheduler from the optimizer.

    Raises:
        ValueError: If the coder is not a single sigmoid layer, ``cd_steps`` is below 1, ``persistent`` negative, or
            ``lam`` negative or not finite.

    Reference:
        Hinton: A Practical Guide to Training Restricted Boltzmann Machines (2012); Tieleman: Training Restricted
        Boltzmann Machines using Approximations to the Likelihood Gradient (2008), for persistent chains; Goodfellow,
        Bengio, Courville: Deep Learning (2016), sections 18.2 and 20.2.

    Example:
        >>> model = RestrictedBoltzmannMachine((784,), Dense(64), persistent=10)
        >>> model.energy(torch.rand(32, 784)).shape, model.chain.shape
        (torch.Size([32]), torch.Size([10, 784]))
    """

    f: Any  # the type Sequential does not declare the named parts
    chain: Tensor | None
    """The persistent chains, shape ``(persistent, *in_shape)``: a buffer, so part of every checkpoint."""
    compares_examples = True

    def __init__(
        self,
        in_shape: Sequence[int],
        coder: Coder,
        *,
        cd_steps: int = 1,
        persistent: int = 0,
        lam: float = 0.0,
        penalty: SparsityPenalty = KLSparsity(0.1),
        likelihood: Likelihood = Bernoulli(),
        optimizer: OptimizerFactory = lambda parameters: SGD(parameters, lr=0.05, momentum=0.5),
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(in_shape, _tied(coder), likelihood=likelihood, optimizer=optimizer, scheduler=scheduler)
        if cd_steps < 1:
            raise ValueError(f"cd_steps must be at least 1, but got {cd_steps}. Usual are 1 to 25.")
        if persistent < 0:
            raise ValueError(f"persistent must be >= 0, but got {persistent}. Usual is the batch size, or 0 for none.")
        if not 0 <= lam < float("inf"):
            raise ValueError(f"lam must be finite and >= 0, but got {lam}. A negative weight rewards dense codes.")
        penalty.check(self.code_range)
        penalty.check_activation(self.f[-1])
        self.cd_steps = cd_steps
        self.lam = lam
        self.penalty = penalty
        self.register_buffer("chain", torch.zeros(persistent, *self.in_shape) if persistent else None)

    @classmethod
    def variant(cls) -> str:
        return "boltzmann"

    def energy(self, x: Tensor) -> Tensor:
        x_tilde = self.draw_negatives(x)
        return self.free_energy(x) - self.free_energy(x_tilde).mean() + self.sparsity(x)

    def free_energy(self, x: Tensor) -> Tensor:
        r"""Compute :math:`F(x)`, up to a constant :math:`-\log p(x)`: ``(B, *in_shape)`` to nats ``(B,)``.

        Example:
            >>> model = RestrictedBoltzmannMachine((6,), Dense(4), likelihood=Bernoulli())
            >>> model.free_energy(torch.ones(2, 6)).shape
            torch.Size([2])
        """
        return self.L(x, self.visible_bias.expand_as(x)) - F.softplus(self.logits(x)).sum(dim=1)

    def logits(self, x: Tensor) -> Tensor:
        r"""Compute :math:`W x + b`, the logits of the hidden units: ``(B, *in_shape)`` to ``(B, *code_shape)``."""
        return at_least_float32(self.f.affine(self.f.body(x)))

    @property
    def visible_bias(self) -> Tensor:
        """The bias c, which is what the decoder gives if no unit is on, shape ``(1, *in_shape)``."""
        return self.g(self.f.affine.bias.new_zeros(1, *self.code_shape))

    @torch.no_grad()
    def draw_negatives(self, x: Tensor) -> Tensor:
        r"""Draw :math:`\tilde x` by Gibbs steps from the inputs, or from the persistent chains, which training moves.

        Args:
            x: Inputs, shape ``(B, *in_shape)``.

        Returns:
            Shape ``(B, *in_shape)``, or ``(persistent, *in_shape)``.
        """
        x_tilde = self.gibbs(x if self.chain is None else self.chain, self.cd_steps)
        if self.chain is not None and self.training:
            self.chain.copy_(x_tilde)
            if distributed.is_available() and distributed.is_initialized():
                distributed.broadcast(self.chain, src=0)  # else processes would end with different chains
        return x_tilde

    @torch.no_grad()
    def gibbs(self, x: Tensor, steps: int) -> Tensor:
        r"""Take steps of Gibbs sampling, :math:`h \sim p(h \mid x), \; x \sim p(x \mid h)`: shape ``(B, *in_shape)``.

        Example:
            >>> model = RestrictedBoltzmannMachine((6,), Dense(4), likelihood=Bernoulli())
            >>> sorted(model.gibbs(torch.rand(100, 6), 3).unique().tolist())
            [0.0, 1.0]
        """
        for _ in range(steps):
            h = self.noise.bernoulli(self.f(x))
            x = self.sample(h)
        return x

    def sparsity(self, x: Tensor) -> Tensor | float:
        r"""Compute :math:`\lambda \, \Omega(f(x))`, in nats, shape ``(B,)`` or ``()``; 0 without a weight."""
        return self.lam * self.penalty(self.f(x)) if self.lam else 0.0

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        return {"free_energy": self.free_energy(x)}

    def generalization(self, train: Tensor, validation: Tensor) -> dict[str, float]:
        r"""The free-energy gap and its standard error, in nats.

        .. math:: \mathbb E_{\text{validation}} F(x) - \mathbb E_{\text{train}} F(x)

        The gap is by how much the log-likelihood of training rows is larger; near 0, the layer does not overfit.
        """
        held_out, seen = (self.free_energy(x).double() for x in (validation, train))
        error = (held_out.var() / len(held_out) + seen.var() / len(seen)).sqrt()
        return {"free_energy_gap": (held_out.mean() - seen.mean()).item(), "free_energy_gap_error": error.item()}


def _tied(coder: Coder) -> Dense:
    """The coder with tied weights, if it builds the conditional distributions of a machine."""
    has_options = isinstance(coder, Dense) and (coder.stochastic or coder.is_sparse or coder.unit_norm)
    if not isinstance(coder, Dense) or coder.hidden or coder.code_range != (0, 1) or has_options:
        raise ValueError(
            f"a Boltzmann machine has one sigmoid layer and draws its units itself, but got the coder {coder}. Use "
            "Dense(features) alone, and a layer of the stack for every further machine."
        )
    return replace(coder, tied=True)
