"""Many autoencoders of one architecture as one module: what they compute is the same, their numbers are their own."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aepretrain.autoencoders import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    DropoutAutoencoder,
    PlainAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from aepretrain.autoencoders.diagnostics import CodeStatistics
from aepretrain.parts.coders import Dense, Transposed
from aepretrain.parts.corruptions import GaussianNoise, Masking, NoCorruption, SaltAndPepper, SwapNoise
from aepretrain.parts.likelihoods import Bernoulli, Categorical, Gaussian
from aepretrain.parts.penalties import L1, KLSparsity, SparsityPenalty
from aepretrain.parts.randomness import Noise
from aepretrain.parts.seeds import SeedLinear, SeedTransposed

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
ELEMENTWISE_OPTIMIZERS = (ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop)


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
    made = layer.configure_optimizers()
    optimizer, scheduler = (
        (made["optimizer"], made["lr_scheduler"]["scheduler"]) if isinstance(made, dict) else (made, None)
    )
    if type(optimizer) not in ELEMENTWISE_OPTIMIZERS:
        return f"the optimizer {type(optimizer).__name__} does not treat every weight by itself"
    if isinstance(scheduler, ReduceLROnPlateau):
        return "the scheduler ReduceLROnPlateau goes by the figures of one seed"
    return None


class SeedBatch(LightningModule):
    r"""S autoencoders that differ in their weights alone, trained side by side.

    .. math:: \min \; \sum_s \mathbb E_x \, E_s(x)

    No term shares a weight with another, so each seed's gradient is its own, and an optimizer that treats every weight
    by itself makes the steps that S separate ones would make. Rows of a batch are those of seed 0, then of seed 1, and
    so on, equally many.

    Args:
        layers: The autoencoders, for which :func:`reason_against` finds no reason. Their weights are copied;
            :meth:`give_back` puts the trained ones back.

    Example:
        >>> batch = SeedBatch([PlainAutoencoder((6,), Dense(3)) for _ in range(4)])
        >>> batch.training_step([torch.rand(4 * 5, 6)], 0).shape
        torch.Size([4])
    """

    def __init__(self, layers: Sequence[Autoencoder]) -> None:
        super().__init__()
        self.seeds = len(layers)
        self.model = _side_by_side(layers)
        self.statistics = [CodeStatistics(self.model.code_shape) for _ in layers]
        self.figures: list[dict[str, float]] = []
        """Of the last validation, per seed."""
        self._sums: dict[str, Tensor] = {}
        self._examples = 0

    @property
    def noise(self) -> Noise:
        """Where the noise comes from: one generator per seed."""
        return self.model.noise

    @noise.setter
    def noise(self, noise: Noise) -> None:
        self.model.noise = noise

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return self._means(self.model.energy(batch[0]))

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
            self._sums[name] = self._sums.get(name, 0.0) + self._means(value) * examples
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

    def _means(self, values: Tensor) -> Tensor:
        """Values of the examples, shape ``(S * B,)``, to each seed's mean, shape ``(S,)``."""
        return values.reshape(self.seeds, -1).mean(dim=1)

    def configure_optimizers(self) -> Any:
        return self.model.configure_optimizers()

    def give_back(self, layers: Sequence[Autoencoder]) -> None:
        """Put each seed's weights into its own autoencoder."""
        for name, module in self.model.named_modules():
            own: list[Any] = [layer.get_submodule(name) for layer in layers]
            if isinstance(module, SeedLinear):
                module.give_back(own)
            elif isinstance(module, SeedTransposed):
                module.give_back([each.bias for each in own])


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


def _side_by_side(layers: Sequence[Autoencoder]) -> Autoencoder:
    """A copy of the first autoencoder whose affine maps are those of all of them."""
    model = copy.deepcopy(layers[0])
    linears: dict[int, SeedLinear] = {}
    for name, module in layers[0].named_modules():
        own: list[Any] = [layer.get_submodule(name) for layer in layers]
        if isinstance(module, nn.Linear):
            linears[id(module.weight)] = linear = SeedLinear(own)
            model.set_submodule(name, linear)
        elif isinstance(module, Transposed):
            tied = SeedTransposed(linears[id(module.weight)], [each.bias for each in own])
            model.set_submodule(name, tied)
    if isinstance(model, SparseAutoencoder) and isinstance(model.penalty, KLSparsity):
        model.penalty = EachSeed(model.penalty, len(layers))
    return model
