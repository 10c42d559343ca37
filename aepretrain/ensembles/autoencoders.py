"""Many autoencoders of one architecture, trained side by side."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from aepretrain.ensembles.batch import SeedBatch, reason_optimizer_not_batchable
from aepretrain.layers import (
    AdversarialAutoencoder,
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    DropoutAutoencoder,
    PlainAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from aepretrain.layers.diagnostics import CodeStatistics
from aepretrain.parts.convolution import Conv
from aepretrain.parts.corruptions import Binarization, GaussianNoise, Masking, NoCorruption, SaltAndPepper, SwapNoise
from aepretrain.parts.dense import Dense
from aepretrain.parts.likelihoods import Bernoulli, Categorical, Gaussian, Mixed
from aepretrain.parts.penalties import L1, KLSparsity, SparsityPenalty

VARIANTS = (
    AdversarialAutoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    DropoutAutoencoder,
    PlainAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
CORRUPTIONS = (Binarization, GaussianNoise, Masking, NoCorruption, SaltAndPepper, SwapNoise)
LIKELIHOODS = (Bernoulli, Categorical, Gaussian, Mixed)


def reason_not_batchable(layer: Autoencoder) -> str | None:
    """Return why layers like this one cannot be trained side by side; ``None`` if they can.

    Example:
        >>> reason_not_batchable(PlainAutoencoder((784,), Dense(64)))
        >>> reason_not_batchable(PlainAutoencoder((784,), Dense(64), optimizer=torch.optim.LBFGS))
        'the optimizer LBFGS does not treat every weight by itself'
    """
    if isinstance(layer.coder, Conv):
        return "the coder Conv has convolutions, and only linear layers are trained side by side"
    if layer.coder.is_sparse or layer.coder.projection is not None:
        return "thresholds, the k largest units and unit norms are those of one seed"
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
    if isinstance(layer, VariationalAutoencoder) and layer.free_bits:
        return "free_bits compares the mean over a batch"
    return reason_optimizer_not_batchable(layer)


class SeedAutoencoders(SeedBatch):
    r"""S autoencoders that differ only in their weights. The loss of seed s is :math:`\mathbb E_x \, E_s(x)`.

    Args:
        layers: The autoencoders; :func:`reason_not_batchable` must return ``None`` for them.

    Example:
        >>> batch = SeedAutoencoders([PlainAutoencoder((6,), Dense(3)) for _ in range(4)])
        >>> batch.mean(batch.loss(torch.rand(4 * 5, 6))).shape
        torch.Size([4])
    """

    def __init__(self, layers: Sequence[Autoencoder]) -> None:
        super().__init__(layers)
        if isinstance(self.model, SparseAutoencoder) and isinstance(self.model.penalty, KLSparsity):
            self.model.penalty = PerSeedPenalty(self.model.penalty, self.seeds)
        self.statistics = nn.ModuleList(deepcopy(layer.code_statistics) for layer in layers)

    def each_statistics(self) -> list[CodeStatistics]:
        """Code statistics of each seed."""
        return [metric for metric in self.statistics if isinstance(metric, CodeStatistics)]

    def validation_values(self, *batch: Tensor) -> dict[str, Tensor]:
        x = batch[0]
        h = self.model.f(x)
        for metric, codes in zip(self.each_statistics(), h.split(len(x) // self.seeds), strict=True):
            metric.update(codes)
        reconstruction = self.model.L(x, self.model.g(h))
        return {"loss": self.model.energy(x), "reconstruction": reconstruction, **self.model.diagnostics(x)}

    def validation_totals(self) -> dict[str, Tensor]:
        each = [metric.compute() for metric in self.each_statistics()]
        for metric in self.each_statistics():
            metric.reset()
        return {name: torch.stack([totals[name] for totals in each]) for name in each[0]}


class PerSeedPenalty(SparsityPenalty):
    """A penalty on batch means, computed separately on each seed's share of the batch.

    Args:
        penalty: The penalty.
        seeds: Number of seeds that share the batch.

    Example:
        >>> PerSeedPenalty(KLSparsity(0.5), 2)(torch.full((4, 1), 0.5)).shape
        torch.Size([4])
    """

    def __init__(self, penalty: SparsityPenalty, seeds: int) -> None:
        self.penalty = penalty
        self.seeds = seeds

    def __call__(self, h: Tensor) -> Tensor:
        examples = len(h) // self.seeds
        return torch.stack([self.penalty(codes) for codes in h.split(examples)]).repeat_interleave(examples)
