"""Greedy layer-wise pretraining: one autoencoder after another learns the codes of the one before."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from aepretrain.console import format_duration, print_line
from aepretrain.data.base import DataModule
from aepretrain.data.rows import Inputs, pieces
from aepretrain.ensembles.train import Vectorize, train_seeds, why_apart
from aepretrain.errors import ConfigError, DataError
from aepretrain.layers.autoencoder import Autoencoder, Shape
from aepretrain.layers.diagnostics import identity_score
from aepretrain.parts.likelihoods import Categorical
from aepretrain.parts.noise import derive_seed
from aepretrain.pretraining.codes import FrozenCodes, Room, disk_for_codes, no_folder
from aepretrain.results.stage import StageLosses, StageResult
from aepretrain.storage.json_files import finite
from aepretrain.training.options import Pretraining
from aepretrain.training.out_of_memory import MemoryAdvice
from aepretrain.training.stage import RunContext, StageRecord, train_stage

LayerFactory = Callable[[Shape], Autoencoder]
"""A variant with all but ``in_shape`` given."""

StageEnd = Callable[[Autoencoder, StageRecord, Tensor], None]
"""Called with a layer, its record and its validation inputs when a stage closes."""

IDENTITY_EXAMPLES = 1000


class GreedyStack(nn.Module):
    r"""A stack of autoencoders, trained greedily: layer k learns to reconstruct the codes of layer k - 1.

    .. math:: h_0 = x, \qquad h_k = f_k(h_{k-1}), \qquad \min_{f_k, g_k} \; \mathbb E \, E_k(h_{k-1})

    Args:
        in_shape: Shape of one example, without the batch dimension.
        layers: One factory per layer, from the input up; they may differ in everything.

    Raises:
        ConfigError: If a layer cannot be built, or does not fit the one below. The message names the layer.

    Reference:
        Bengio et al.: Greedy Layer-Wise Training of Deep Networks (2007); Vincent et al.: Stacked Denoising
        Autoencoders (2010), section 3.5.

    Example:
        >>> stack = GreedyStack((784,), [lambda s: DenoisingAutoencoder(s, Dense(64)),
        ...                              lambda s: SparseAutoencoder(s, Dense(16), lam=0.01)])
        >>> stack.encoder(torch.rand(32, 784)).shape
        torch.Size([32, 16])
    """

    def __init__(self, in_shape: Sequence[int], layers: Sequence[LayerFactory]) -> None:
        super().__init__()
        if not layers:
            raise ConfigError("a stack needs at least one layer, but layers is empty. Add one to the list.")
        self.in_shape: Shape = tuple(in_shape)
        built: list[Autoencoder] = []
        for k, make in enumerate(layers):
            below = built[-1] if built else None
            built.append(_build_layer(k, make, below.code_shape if below else self.in_shape, below))
        self.layers = nn.ModuleList(built)
        self.records: list[StageRecord] = []
        self.identity_scores: list[float] = []

    @property
    def code_shape(self) -> Shape:
        """Shape of one code of the last layer."""
        return self.autoencoders[-1].code_shape

    @property
    def autoencoders(self) -> list[Autoencoder]:
        """The layers, from the input up."""
        return [layer for layer in self.layers if isinstance(layer, Autoencoder)]

    @property
    def stages(self) -> list[str]:
        """The names of the layers' stages, such as ``00-denoising``."""
        return [f"{k:02d}-{layer.variant()}" for k, layer in enumerate(self.autoencoders)]

    @property
    def encoder(self) -> nn.Sequential:
        r"""A copy of the encoder :math:`f_n \circ \ldots \circ f_1`: plain torch modules, one entry per layer.

        It is a copy, so that fine-tuning leaves the stack as it was pretrained.
        """
        return nn.Sequential(*(deepcopy(layer.f) for layer in self.autoencoders))

    def encode(self, x: Tensor) -> Tensor:
        """Codes of the last layer: ``(B, *in_shape)`` to ``(B, *code_shape)``."""
        for layer in self.autoencoders:
            x = layer.encode(x)
        return x

    def decode(self, h: Tensor) -> Tensor:
        """The expected input given codes of the last layer: ``(B, *code_shape)`` to ``(B, *in_shape)``."""
        for layer in reversed(self.autoencoders):
            h = layer.decode(h)
        return h

    def reconstruct(self, x: Tensor) -> Tensor:
        """Inputs through all encoders and back through all decoders: shape ``(B, *in_shape)``."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """The codes, as :meth:`encode`."""
        return self.encode(x)

    def warnings(self) -> list[str]:
        """What is likely to disappoint, one sentence each: layers that can learn to copy."""
        found = []
        for k, layer in enumerate(self.autoencoders):
            if layer.is_overcomplete() and not layer.is_regularized():
                found.append(
                    f"layer {k} ({self.stages[k]}) is overcomplete ({layer.coder.narrowest} units for "
                    f"{torch.Size(layer.in_shape).numel()} inputs) and has no regularizer: it can learn the trivial "
                    "identity. Use fewer units, or a variant with noise or a penalty."
                )
        return found

    def fit(
        self,
        data: DataModule,
        pretraining: Pretraining = Pretraining(),
        context: RunContext = RunContext(),
        *,
        on_stage_end: StageEnd | None = None,
    ) -> Self:
        """Train the layers one after another, each with a Trainer of its own.

        A finished layer runs over the data once; the next one trains on its codes, and cannot change it. Codes that do
        not fit ``data.memory_limit`` go to a file in the stage's folder until the next stage has closed.

        Args:
            data: Pretraining sees its unlabelled inputs; validation inputs choose the epoch where patience is set.
            pretraining: Epochs, batch sizes and patience, for all layers or for each.
            context: Seed, devices, precision, run directory and loggers.
            on_stage_end: Called with the layer, its record and its first 1000 validation inputs when a stage closes.

        Returns:
            The stack itself; ``records`` holds one record per layer.

        Raises:
            DataError: If the inputs do not fit the stack or the first layer's likelihood.
            ConfigError: If a setting is out of range.
        """
        ends = [] if on_stage_end is None else [on_stage_end]
        fit_stacks([self], data, pretraining, [context], on_stage_ends=ends)
        return self

    def disk_for_codes(self, data: DataModule, pretraining: Pretraining, seed: int = 0) -> int:
        """About how many bytes of codes do not fit the data's memory limit and lie on the disk at once."""
        splits = data.splits(seed)
        inputs: list[Inputs] = [splits.unlabelled, splits.validation.x]
        return disk_for_codes(self.autoencoders, inputs, _room_for_codes(data, seed), pretraining.codes)

    def check(self, data: DataModule, seed: int = 0) -> None:
        """Raise a DataError unless the data's inputs fit the stack and the first layer's likelihood."""
        if tuple(data.in_shape) != self.in_shape:
            raise DataError(
                f"the stack takes inputs of shape {self.in_shape}, but {data.name} gives {tuple(data.in_shape)}. "
                "Build the stack with GreedyStack(data.in_shape, ...)."
            )
        splits = data.splits(seed)
        for x in (splits.unlabelled, splits.validation.x):
            try:
                for part in pieces(x):
                    self.autoencoders[0].L.check(part)
            except ValueError as error:
                raise DataError(f"layer 0 ({self.stages[0]}), {data.name}: {error}") from error

    def summary(self, k: int) -> str:
        """One line on the stage of layer ``k``, when it has closed."""
        layer, record = self.autoencoders[k], self.records[k]
        inputs, units = torch.Size(layer.in_shape).numel(), torch.Size(layer.code_shape).numel()
        return (
            f"{record.stage}  {inputs} to {units}  {record.epochs} epochs in {format_duration(record.seconds)}  "
            f"reconstruction {record.metrics['val/reconstruction']:.4g} nats  "
            f"dead units {record.metrics['val/dead_units']:.0f} of {units}  identity {self.identity_scores[k]:.2f}"
        )

    def results(self) -> list[StageResult]:
        """What the training of every layer found."""
        return [
            StageResult(
                stage=record.stage,
                variant=layer.variant(),
                in_shape=tuple(layer.in_shape),
                code_shape=tuple(layer.code_shape),
                epochs=record.epochs,
                kept_epoch=record.kept_epoch,
                steps=record.steps,
                seconds=record.seconds,
                skipped_steps=record.skipped_steps,
                losses=StageLosses(
                    train=record.metrics["train/loss"],
                    validation=record.metrics["val/loss"],
                    reconstruction=record.metrics["val/reconstruction"],
                ),
                diagnostics=finite({**_validation_diagnostics(record.metrics), "identity_score": score}),
            )
            for layer, record, score in zip(self.autoencoders, self.records, self.identity_scores, strict=True)
        ]


def _room_for_codes(data: DataModule, seed: int) -> Room:
    splits = data.splits(seed)
    pools = {id(x): x for x in (splits.unlabelled, splits.train.x, splits.validation.x, splits.test.x)}
    return Room.beside(list(pools.values()), data.memory_limit, data.read_ahead)


def _codes(data: DataModule, pretraining: Pretraining, context: RunContext) -> list[FrozenCodes]:
    """The inputs of the next layer, and those of its validation."""
    splits, room = data.splits(context.seed), _room_for_codes(data, context.seed)
    return [
        FrozenCodes(x, name, context, room, dtype=pretraining.codes, read_ahead=data.read_ahead)
        for name, x in (("codes", splits.unlabelled), ("validation-codes", splits.validation.x))
    ]


def fit_stacks(
    stacks: Sequence[GreedyStack],
    data: DataModule,
    pretraining: Pretraining,
    contexts: Sequence[RunContext],
    *,
    vectorize: Vectorize = "off",
    on_stage_ends: Sequence[StageEnd] = (),
) -> None:
    """Train stacks of one architecture with a seed each, layer by layer: :meth:`GreedyStack.fit` for many.

    Args:
        stacks: The stacks, which differ in their weights alone.
        data: As for one stack.
        pretraining: As for one stack.
        contexts: One per stack; they differ in seed, directory and loggers.
        vectorize: Whether a layer of all stacks is trained at once: where it is possible and faster (``auto``), always
            (``on``), or never (``off``).
        on_stage_ends: As for one stack, one per stack; or none.

    Raises:
        DataError: If the inputs do not fit the stacks or the first layer's likelihood.
        ConfigError: If a setting is out of range, or ``vectorize`` is ``on`` and a layer cannot be trained so.
    """
    layers = len(stacks[0].layers)
    for stack, context in zip(stacks, contexts, strict=True):
        stack.check(data, context.seed)
        if context.out is None and (size := stack.disk_for_codes(data, pretraining, context.seed)):
            raise ConfigError(no_folder(size))
        stack.records, stack.identity_scores = [], []
    codes = [_codes(data, pretraining, context) for context in contexts]
    lengths = [pretraining.of_layer(k, layers) for k in range(layers)]
    for k, (epochs, batch_size, patience) in enumerate(lengths):
        members, stage = [stack.autoencoders[k] for stack in stacks], stacks[0].stages[k]
        settings: dict[str, Any] = {"stage": stage, "epochs": epochs, "batch_size": batch_size, "patience": patience}
        # A stage that was trained before is read from its files.
        x = [None if at.is_trained(stage) else own.get() for (own, _), at in zip(codes, contexts, strict=True)]
        x_validation = [held_out.get() for _, held_out in codes]
        records = _train_layers(members, x, x_validation, contexts, vectorize, **settings)
        for seed, (stack, context, record) in enumerate(zip(stacks, contexts, records, strict=True)):
            layer = members[seed]
            generator = torch.Generator().manual_seed(derive_seed(context.seed, stage, "identity"))
            stack.records.append(record)
            with MemoryAdvice(stage, batch_size).given():
                examples = x_validation[seed][:IDENTITY_EXAMPLES].cpu()
                stack.identity_scores.append(identity_score(layer, examples, generator))
                if context.progress:
                    print_line(stack.summary(k) + (f"  seed {context.seed}" if len(stacks) > 1 else ""))
                if not context.is_finished(stage):
                    if on_stage_ends:
                        on_stage_ends[seed](layer, record, examples)
                    context.finish(stage)
                for each in codes[seed]:
                    each.add(stage, layer, record.device, record.processes)
    for pair in codes:
        for each in pair:
            each.close()


def _train_layers(
    layers: Sequence[Autoencoder],
    x: Sequence[Inputs | None],
    x_validation: Sequence[Inputs],
    contexts: Sequence[RunContext],
    vectorize: Vectorize,
    *,
    stage: str,
    patience: int | None,
    **lengths: Any,
) -> list[StageRecord]:
    """Train the same layer of one stack or many, at once where that is asked for and possible."""
    settings = {**lengths, "stage": stage, "monitor": "val/reconstruction"}
    settings |= {"patience": patience, "keep_best": patience is not None}
    if len(layers) > 1 and vectorize != "off":
        train, validation = ([own for own in every if isinstance(own, Tensor)] for every in (x, x_validation))
        if len(train) == len(validation) == len(layers):
            apart = why_apart(layers[0], train, contexts[0], stage=stage, vectorize=vectorize)
        else:
            apart = "their inputs are read from files"
        if apart is None:
            return train_seeds(layers, [[own] for own in train], [[own] for own in validation], contexts, **settings)
        print_line(f"{stage}  {len(layers)} seeds one after another: {apart}")
    return [
        train_stage(layer, [] if own is None else [own], [held_out], context, **settings)
        for layer, own, held_out, context in zip(layers, x, x_validation, contexts, strict=True)
    ]


def _validation_diagnostics(metrics: dict[str, float]) -> dict[str, float]:
    losses = ("val/loss", "val/reconstruction")
    return {
        name.removeprefix("val/"): value
        for name, value in metrics.items()
        if name.startswith("val/") and name not in losses
    }


def _build_layer(k: int, make: LayerFactory, in_shape: Shape, below: Autoencoder | None) -> Autoencoder:
    try:
        layer = make(in_shape)
        layer.L(torch.zeros(1, *in_shape), layer.g(layer.f(torch.zeros(1, *in_shape))))
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise ConfigError(f"layer {k}: {' '.join(str(error).split())}") from error
    if below is not None:
        (low, high), (least, most) = layer.L.support, below.coder.code_range
        if isinstance(layer.L, Categorical):
            raise ConfigError(
                f"layer {k}: Categorical is for one-hot data, but the codes of layer {k - 1} are no choices that add "
                "up to 1. Use Gaussian here, or Bernoulli on sigmoid codes."
            )
        if least < low or most > high:
            raise ConfigError(
                f"layer {k}: its likelihood {type(layer.L).__name__} takes values in [{low:g}, {high:g}], but the "
                f"codes of layer {k - 1} lie in [{least:g}, {most:g}]. Use Gaussian here, or a sigmoid below."
            )
    return layer
