"""Many autoencoders of one architecture, trained side by side."""

from collections.abc import Sequence

import torch
from torch import Tensor

from aepretrain.ensembles.batch import SeedBatch, reason_against_optimizer
from aepretrain.layers import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    DropoutAutoencoder,
    PlainAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from aepretrain.layers.diagnostics import CodeStatistics
from aepretrain.parts.coders import Dense
from aepretrain.parts.corruptions import GaussianNoise, Masking, NoCorruption, SaltAndPepper, SwapNoise
from aepretrain.parts.likelihoods import Bernoulli, Categorical, Gaussian
from aepretrain.parts.penalties import L1, KLSparsity, SparsityPenalty

VARIANTS = (
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    DropoutAutoencoder,
    PlainAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
CORRUPTIONS = (GaussianNoise, Masking, NoCorruption, SaltAndPepper, SwapNoise)
LIKELIHOODS = (Bernoulli, Categorical, Gaussian)


def reason_against(layer: Autoencoder) -> str | None:
    """Why layers like this one cannot be trained side by side; ``None`` if they can.

    Example:
        >>> reason_against(PlainAutoencoder((784,), Dense(64)))
        >>> reason_against(PlainAutoencoder((784,), Dense(64), optimizer=torch.optim.LBFGS))
        'the optimizer LBFGS does not treat every weight by itself'
    """
    for name, part, known in (
        ("variant", layer, VARIANTS),
        ("coder", layer.coder, (Dense,)),
        ("likelihood", layer.L, LIKELIHOODS),
        ("corruption", getattr(layer, "corruption", NoCorruption()), CORRUPTIONS),
        ("penalty", getattr(layer, "penalty", L1()), (L1, KLSparsity)),
    ):
        if type(part) not in known:
            return f"the {name} {type(part).__name__} is not known to treat examples by themselves"
    if isinstance(layer, ContractiveAutoencoder) and layer.coder.hidden:  # type: ignore[attr-defined]
        return "the contraction of several dense layers has no closed form"
    return reason_against_optimizer(layer)


class SeedAutoencoders(SeedBatch):
    r"""S autoencoders that differ in their weights alone: the loss of seed s is :math:`\mathbb E_x \, E_s(x)`.

    Args:
        layers: The autoencoders, for which :func:`reason_against` finds no reason.

    Example:
        >>> batch = SeedAutoencoders([PlainAutoencoder((6,), Dense(3)) for _ in range(4)])
        >>> batch.training_step([torch.rand(4 * 5, 6)], 0).shape
        torch.Size([4])
    """

    def __init__(self, layers: Sequence[Autoencoder]) -> None:
        super().__init__(layers)
        if isinstance(self.model, SparseAutoencoder) and isinstance(self.model.penalty, KLSparsity):
            self.model.penalty = EachSeed(self.model.penalty, self.seeds)
        self.statistics = [CodeStatistics(self.model.code_shape) for _ in layers]
        self._sums: dict[str, Tensor] = {}
        self._examples = 0

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return self.means(self.model.energy(batch[0]))

    def on_validation_epoch_start(self) -> None:
        self._sums, self._examples = {}, 0
        for statistics in self.statistics:
            statistics.to(self.device).reset()

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        x = batch[0]
        h, examples = self.model.f(x), len(x) // self.seeds
        for statistics, codes in zip(self.statistics, h.split(examples), strict=True):
            statistics.update(codes)
        reconstruction = self.model.L(x, self.model.g(h))
        values = {"loss": self.model.energy(x), "reconstruction": reconstruction, **self.model.diagnostics(x)}
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + self.means(value) * examples
        self._examples += examples

    def on_validation_epoch_end(self) -> None:
        means = {f"val/{name}": (value / self._examples).tolist() for name, value in self._sums.items()}
        self.figures = [
            {name: values[seed] for name, values in means.items()}
            | {f"val/{name}": value.item() for name, value in statistics.compute().items()}
            for seed, statistics in enumerate(self.statistics)
        ]
        # For whoever watches; the figures of each seed are recorded by themselves.
        self.log("val/reconstruction", (self._sums["reconstruction"] / self._examples).mean())


class EachSeed(SparsityPenalty):
    """A penalty on the mean over a batch, taken over each seed's share of it.

    Args:
        penalty: The penalty.
        seeds: How many seeds share the batch.

    Example:
        >>> EachSeed(KLSparsity(0.5), 2)(torch.full((4, 1), 0.5)).shape
        torch.Size([4])
    """

    def __init__(self, penalty: SparsityPenalty, seeds: int) -> None:
        self.penalty = penalty
        self.seeds = seeds

    def __call__(self, h: Tensor) -> Tensor:
        examples = len(h) // self.seeds
        return torch.stack([self.penalty(codes) for codes in h.split(examples)]).repeat_interleave(examples)
