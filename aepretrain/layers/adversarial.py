"""The adversarial autoencoder."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from aepretrain.errors import ConfigError
from aepretrain.layers.autoencoder import Autoencoder
from aepretrain.layers.diagnostics import CodeStatistics
from aepretrain.parts.activations import affine
from aepretrain.parts.coders import Coder


class AdversarialAutoencoder(Autoencoder):
    r"""Autoencoder whose codes follow a prior: a discriminator D learns to tell them from draws of N(0, I).

    .. math:: E(x) = L(x, g(h)) - \lambda \log \bar D(h) - \log D(z) - \log (1 - D(\bar h)),
              \qquad h = f(x), \qquad z \sim N(0, I)

    A bar marks what is held fixed: the encoder minimizes the first two terms, which deceive the discriminator, and the
    discriminator the last two. The distribution of the codes is implicit: it has no density, as no noise is added. Both
    play at every step. They have an optimizer each, with its own learning rate: one of torch's with two parameter
    groups, which share no state.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        coder: Builds the encoder :math:`f` and the decoder :math:`g`; the activation of the code is removed.
        lam: Weight :math:`\lambda \ge 0` of deceiving the discriminator, in nats per nat.
        discriminator: Widths of the hidden layers of :math:`D`, which have rectifiers.
        discriminator_lr: Learning rate of the discriminator; ``None`` for that of the autoencoder.
        kwargs: Passed to :class:`Autoencoder`.

    Raises:
        ValueError: If ``lam`` is negative or not finite, a width is below 1, or ``discriminator_lr`` is not above 0.

    Reference:
        Makhzani et al.: Adversarial Autoencoders (2015), section 2; Goodfellow et al.: Generative Adversarial Nets
        (2014), equation 1, with the generator's loss of section 3.

    Example:
        >>> model = AdversarialAutoencoder((784,), Dense(8, activation="relu", hidden=(64,)))
        >>> model.energy(torch.rand(32, 784)).shape
        torch.Size([32])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        coder: Coder,
        *,
        lam: float = 1.0,
        discriminator: Sequence[int] = (64, 64),
        discriminator_lr: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, coder.unsquashed(), **kwargs)
        if not 0 <= lam < float("inf"):
            raise ValueError(f"lam must be finite and >= 0, but got {lam}. A negative weight helps the discriminator.")
        if discriminator_lr is not None and not 0 < discriminator_lr < float("inf"):
            raise ValueError(
                f"discriminator_lr must be finite and > 0, but got {discriminator_lr}. Leave it out for the "
                "learning rate of the autoencoder."
            )
        self.lam = lam
        self.discriminator_lr = discriminator_lr
        self.code_statistics = CodeStatistics(self.code_shape, self.code_range, prior=True)
        self.discriminator = _discriminator(prod(self.code_shape), discriminator)

    def energy(self, x: Tensor) -> Tensor:
        h = self.f(x)
        z = self.noise.normal_like(h)
        return self.L(x, self.g(h)) + self.lam * self.generator_loss(h) + self.discriminator_loss(z, h.detach())

    def generator_loss(self, h: Tensor) -> Tensor:
        r"""Compute :math:`-\log D(h)` of codes ``(B, *code_shape)`` with D held fixed, in nats, shape ``(B,)``."""
        fixed = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        return -F.logsigmoid(functional_call(self.discriminator, fixed, h)).squeeze(1)

    def discriminator_loss(self, z: Tensor, h: Tensor) -> Tensor:
        r"""Compute :math:`-\log D(z) - \log(1 - D(h))` of draws and codes ``(B, *code_shape)``, shape ``(B,)``."""
        return -(F.logsigmoid(self.discriminator(z)) + F.logsigmoid(-self.discriminator(h))).squeeze(1)

    def prior_codes(self, count: int) -> Tensor:
        """Draw codes from the prior N(0, I), shape ``(count, *code_shape)``."""
        return self.noise.normal_like(next(self.parameters()).new_empty(count, *self.code_shape))

    def make_optimizer(self) -> Optimizer:
        own = set(self.discriminator.parameters())
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        players: list[dict[str, Any]] = [
            {"params": [weight for weight in trained if weight not in own]},
            {"params": [weight for weight in trained if weight in own]},
        ]
        if self.discriminator_lr is not None:
            players[1]["lr"] = self.discriminator_lr
        try:
            return self.projecting(self.optimizer(players))
        except ValueError as error:
            if "parameter groups" not in str(error):
                raise
            raise ConfigError(
                f"an AdversarialAutoencoder has two parameter groups, and its optimizer takes none: {error}. "
                "Use Adam or SGD."
            ) from error

    def diagnostics(self, x: Tensor) -> dict[str, Tensor]:
        return {"recognized_codes": (self.discriminator(self.f(x)).squeeze(1) < 0).to(x.dtype)}


def _discriminator(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """D as a network with one logit per code: ``(B, *code_shape)`` to ``(B, 1)``."""
    for width in hidden:
        if width < 1:
            raise ValueError(f"a layer of the discriminator needs at least 1 unit, but got {width}. Typical are 64.")
    widths = [inputs, *hidden]
    layers = [module for lower, upper in pairwise(widths) for module in (affine(lower, upper, "relu"), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, affine(widths[-1], 1, "sigmoid"))
