"""Greedy layer-wise pretraining: one autoencoder after another learns the codes of the one before."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from aepretrain.autoencoders.base import Autoencoder, Shape
from aepretrain.autoencoders.diagnostics import identity_score
from aepretrain.data.base import DataModule
from aepretrain.data.rows import Inputs, pieces
from aepretrain.errors import ConfigError, DataError
from aepretrain.parts.likelihoods import Categorical
from aepretrain.parts.randomness import derive_seed
from aepretrain.training.codes import FrozenCodes, Room, disk_for_codes, no_folder
from aepretrain.training.memory import MemoryAdvice
from aepretrain.training.options import Pretraining
from aepretrain.training.progress import duration, say
from aepretrain.training.stage import RunContext, StageRecord, train_stage

LayerFactory = Callable[[Shape], Autoencoder]
"""A variant with all but ``in_shape`` given."""

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
        on_stage_end: Callable[[Autoencoder, StageRecord, Tensor], None] | None = None,
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
        self.check(data, context.seed)
        splits = data.splits(context.seed)
        if context.out is None and (size := self.disk_for_codes(data, pretraining, context.seed)):
            raise ConfigError(no_folder(size))
        inputs, held_out = (
            FrozenCodes(x, name, context, room, dtype=pretraining.codes, read_ahead=data.read_ahead)
            for room in [_room_for_codes(data, context.seed)]
            for name, x in (("codes", splits.unlabelled), ("validation-codes", splits.validation.x))
        )
        lengths = [pretraining.of_layer(k, len(self.layers)) for k in range(len(self.layers))]
        self.records, self.identity_scores = [], []
        for stage, layer, (epochs, batch_size, patience) in zip(self.stages, self.autoencoders, lengths, strict=True):
            x_validation = held_out.get()
            record = train_stage(
                layer,
                # A stage that was trained before is read from its files.
                [] if context.is_trained(stage) else [inputs.get()],
                [x_validation],
                context,
                stage=stage,
                epochs=epochs,
                batch_size=batch_size,
                monitor="val/reconstruction",
                patience=patience,
                keep_best=patience is not None,
            )
            generator = torch.Generator().manual_seed(derive_seed(context.seed, stage, "identity"))
            self.records.append(record)
            with MemoryAdvice(stage, batch_size).given():
                examples = x_validation[:IDENTITY_EXAMPLES].cpu()
                self.identity_scores.append(identity_score(layer, examples, generator))
                if context.progress:
                    say(self.summary(len(self.records) - 1))
                if not context.is_finished(stage):
                    if on_stage_end is not None:
                        on_stage_end(layer, record, examples)
                    context.finish(stage)
                for codes in (inputs, held_out):
                    codes.add(stage, layer, record.device, record.processes)
        for codes in (inputs, held_out):
            codes.close()
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
            f"{record.stage}  {inputs} to {units}  {record.epochs} epochs in {duration(record.seconds)}  "
            f"reconstruction {record.metrics['val/reconstruction']:.4g} nats  "
            f"dead units {record.metrics['val/dead_units']:.0f} of {units}  identity {self.identity_scores[k]:.2f}"
        )

    def results(self) -> list[dict[str, Any]]:
        """One plain dictionary per trained layer: variant, shapes, epochs, steps, seconds, losses, diagnostics."""
        return [
            {
                "stage": record.stage,
                "variant": layer.variant(),
                "in_shape": list(layer.in_shape),
                "code_shape": list(layer.code_shape),
                "epochs": record.epochs,
                "kept_epoch": record.kept_epoch,
                "steps": record.steps,
                "seconds": record.seconds,
                "skipped_steps": record.skipped_steps,
                "losses": {
                    "train": record.metrics["train/loss"],
                    "validation": record.metrics["val/loss"],
                    "reconstruction": record.metrics["val/reconstruction"],
                },
                "diagnostics": {
                    **_validation_diagnostics(record.metrics),
                    "identity_score": score,
                },
            }
            for layer, record, score in zip(self.autoencoders, self.records, self.identity_scores, strict=True)
        ]


def _room_for_codes(data: DataModule, seed: int) -> Room:
    splits = data.splits(seed)
    pools = {id(x): x for x in (splits.unlabelled, splits.train.x, splits.validation.x, splits.test.x)}
    return Room.beside(list(pools.values()), data.memory_limit, data.read_ahead)


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
