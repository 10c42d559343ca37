"""Greedy layer-wise pretraining: each autoencoder is trained on the codes of the one below."""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from aepretrain.console import format_duration, print_line
from aepretrain.data.base import DataModule
from aepretrain.data.lightning_data import AnyData, as_source
from aepretrain.data.rows import Inputs, pieces
from aepretrain.data.transforms import NoTransform
from aepretrain.errors import ConfigError, DataError
from aepretrain.layers.base import Layer, Shape
from aepretrain.layers.coding import CodingLayer
from aepretrain.layers.diagnostics import StageDiagnostics
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.parts.noise import derive_seed
from aepretrain.pretraining.codes import FrozenCodes, MemoryBudget, disk_for_codes, missing_run_directory
from aepretrain.pretraining.stage_results import CLOSING_EXAMPLES, closing_diagnostics, stage_result
from aepretrain.pretraining.unroll import unroll
from aepretrain.results import figures
from aepretrain.results.findings import stage_findings
from aepretrain.results.reconstruction import UNROLLED
from aepretrain.results.run import WarmStarted
from aepretrain.results.stage import StageRecord, StageResult
from aepretrain.training.context import RunContext
from aepretrain.training.options import Pretraining
from aepretrain.training.out_of_memory import memory_advice
from aepretrain.training.recovery.run_data import record_or_check_data
from aepretrain.training.recovery.run_state import LAYER_STAGES, RunState
from aepretrain.training.stage import train_stage
from aepretrain.training.stock import TrainerFactory

LayerFactory = Callable[[Shape], Layer]
"""Makes a layer from its ``in_shape``."""

StageEnd = Callable[[Layer, StageRecord, Tensor], None]
"""Called with a layer, its record and its first 1000 validation inputs when a stage closes."""


class GreedyStack(nn.Module):
    r"""A stack of layers, trained greedily: layer k learns to reconstruct the codes of layer k - 1.

    .. math:: h_0 = x, \qquad h_k = f_k(h_{k-1}), \qquad \min_{f_k, g_k} \; \mathbb E \, E_k(h_{k-1})

    Args:
        in_shape: Shape of one example, without the batch dimension.
        layers: One factory per layer, from the input up; layers may differ in every respect.
        seed: Seed of the initial weights, which depend on nothing else.

    Raises:
        ConfigError: If a layer cannot be built or does not fit the one below. The message names the layer.

    Reference:
        Bengio et al.: Greedy Layer-Wise Training of Deep Networks (2007); Vincent et al.: Stacked Denoising
        Autoencoders (2010), section 3.5.

    Example:
        >>> stack = GreedyStack((784,), [lambda s: DenoisingAutoencoder(s, Dense(64)),
        ...                              lambda s: SparseAutoencoder(s, Dense(16), lam=0.01)])
        >>> stack.encoder(torch.rand(32, 784)).shape
        torch.Size([32, 16])
    """

    def __init__(self, in_shape: Sequence[int], layers: Sequence[LayerFactory], *, seed: int = 0) -> None:
        super().__init__()
        if not layers:
            raise ConfigError("a stack needs at least one layer, but layers is empty. Add one to the list.")
        self.in_shape: Shape = tuple(in_shape)
        self.seed = seed
        self.factories = list(layers)
        self.layers = nn.ModuleList(self._build_layers())
        self.is_unrolled = False
        """Whether all layers were trained together, after each by itself: see :func:`unroll`."""
        self.records: list[StageRecord] = []
        self.diagnostics: list[StageDiagnostics] = []
        self.warm_start: WarmStarted | None = None
        """From which run the lowest layers begin; ``None``: all begin at random."""
        self._given: list[dict[str, Tensor]] = []
        self.is_scaled = False
        """Whether the data that it was trained on are scaled by a transform of their source."""

    def _build_layers(self) -> list[Layer]:
        built: list[Layer] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "stack"))
            for k, make in enumerate(self.factories):
                below = built[-1] if built else None
                built.append(_build_layer(k, make, below.code_shape if below else self.in_shape, below))
        return built

    def reset_parameters(self) -> None:
        """Restore the initial weights, and forget the records of an earlier training."""
        for layer, fresh in zip(self, self._build_layers(), strict=True):
            layer.load_state_dict(fresh.state_dict())
        for layer, given in zip(self, self._given, strict=False):
            layer.load_state_dict(given)
        self.records, self.diagnostics, self.is_unrolled = [], [], False

    def begin_with_present_weights(self, layers: int, origin: WarmStarted) -> None:
        """Take the present weights of the lowest layers as those from which every training begins.

        Args:
            layers: Number of layers.
            origin: The run that gave the weights.
        """
        self._given = [deepcopy(layer.state_dict()) for layer in list(self)[:layers]]
        self.warm_start = origin

    def check_frozen(self, pretraining: Pretraining) -> None:
        """Raise a ConfigError unless the layers that are not to be trained have weights of another run."""
        pretraining.check_frozen(len(self._given))

    @property
    def identity_scores(self) -> list[float]:
        """The identity score of every trained layer, from the input up."""
        return [closing.scalars["identity_score"] for closing in self.diagnostics]

    @property
    def code_shape(self) -> Shape:
        """Shape of one code of the last layer."""
        return list(self)[-1].code_shape

    def __iter__(self) -> Iterator[Layer]:
        """The layers, from the input up."""
        return (layer for layer in self.layers if isinstance(layer, Layer))

    @property
    def stages(self) -> list[str]:
        """The names of the layers' stages, such as ``00-denoising``."""
        return [f"{k:02d}-{layer.variant()}" for k, layer in enumerate(self)]

    @property
    def trained(self) -> list[Layer]:
        """What the stages trained, in order: the layers, and all of them as one if they were unrolled."""
        layers = list(self)
        return [*layers, unroll(layers)] if self.is_unrolled else layers

    @property
    def encoder(self) -> nn.Sequential:
        r"""A copy of the encoder :math:`f_n \circ \ldots \circ f_1`: plain torch modules, one entry per layer.

        It is a copy, so that fine-tuning leaves the stack as it was pretrained. Its ``in_shape`` is that of the stack,
        and all of it requires gradients.
        """
        encoder = nn.Sequential(*(deepcopy(layer.encoder) for layer in self))
        encoder.in_shape = self.in_shape  # type: ignore[assignment]
        return encoder.requires_grad_(True)

    @property
    def decoders(self) -> list[tuple[nn.Module, Likelihood]] | None:
        """Decoder and likelihood of each layer, from the input up; ``None`` if a layer has no decoder."""
        layers = [layer for layer in self if isinstance(layer, CodingLayer)]
        return [(layer.g, layer.L) for layer in layers] if len(layers) == len(self.layers) else None

    def encode(self, x: Tensor) -> Tensor:
        """Codes of the last layer: ``(B, *in_shape)`` to ``(B, *code_shape)``."""
        for layer in self:
            x = layer.encode(x)
        return x

    def decode(self, h: Tensor) -> Tensor:
        """The expected input given codes of the last layer: ``(B, *code_shape)`` to ``(B, *in_shape)``."""
        for layer in reversed(list(self)):
            h = layer.decode(h)
        return h

    def sample(self, h: Tensor) -> Tensor:
        """Draw inputs given codes of the last layer: ``(B, *code_shape)`` to ``(B, *in_shape)``.

        The layers above the first pass on the expected codes, as in :meth:`decode`; the first one draws.

        Raises:
            NotImplementedError: If a layer has no decoder, or the first one cannot be sampled.
        """
        first, *above = self
        for layer in reversed(above):
            h = layer.decode(h)
        return first.sample(h)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode inputs through all layers: shape ``(B, *in_shape)``."""
        return self.decode(self.encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """The codes, as :meth:`encode`."""
        return self.encode(x)

    def warnings(self) -> list[str]:
        """Warnings, one sentence each, about layers that can learn the identity."""
        found = []
        for k, layer in enumerate(self):
            if layer.can_copy:
                found.append(
                    f"layer {k} ({self.stages[k]}) is overcomplete ({layer.narrowest} units for "
                    f"{torch.Size(layer.in_shape).numel()} inputs) and has no regularizer: it can learn the trivial "
                    "identity. Use fewer units, or a variant with noise or a penalty."
                )
        return found

    def fit(
        self,
        data: AnyData,
        pretraining: Pretraining = Pretraining(),
        context: RunContext = RunContext(),
        *,
        on_stage_end: StageEnd | None = None,
        trainer: TrainerFactory | None = None,
    ) -> Self:
        """Train the layers one after another.

        A stack that was trained before starts again from its initial weights, those of a warm start included. A
        finished layer encodes the data once; the next one trains on its codes and cannot change it. Codes that do not
        fit ``data.memory_limit`` are kept in a file in the stage's folder until the next stage has closed.

        Args:
            data: Training uses its unlabelled inputs; its validation inputs choose the epoch if patience is set. A
                source, or what :class:`~aepretrain.data.lightning_data.LightningData` reads: a LightningDataModule, or
                DataLoaders for training, validation and test.
            pretraining: Epochs, batch sizes and patience, for all layers or for each.
            context: Seed, devices, precision, run directory and loggers.
            on_stage_end: Called with the layer, its record and its first 1000 validation inputs when a stage closes.
            trainer: Makes a new stock Lightning Trainer from the stage's name, which replaces the built-in loop; of
                ``pretraining``, only batch sizes and ``codes`` then apply.

        Returns:
            The stack itself; ``records`` holds one record per layer.

        Raises:
            DataError: If the inputs do not fit the stack or the first layer, or changed since the run was started.
            ConfigError: If a setting is out of range, or the run directory holds layers already and is not resumed.
        """
        training = GreedyTraining(self, data, pretraining, context, on_stage_end=on_stage_end)
        for k, layer in enumerate(self):
            train, validation = training.inputs(k)
            training.close(k, train_stage(layer, train, validation, training.settings[k], context, trainer=trainer))
        training.finish(trainer=trainer)
        return self

    def disk_for_codes(self, data: DataModule, pretraining: Pretraining, seed: int = 0) -> int:
        """Estimate how many bytes of codes exceed the data's memory limit and are on the disk at once."""
        splits = data.splits(seed)
        inputs: list[Inputs] = [splits.unlabelled, splits.validation.x]
        return disk_for_codes(list(self), inputs, _memory_for_codes(data, seed), pretraining.codes)

    def check(self, data: DataModule, seed: int = 0) -> None:
        """Raise a DataError unless the data's inputs fit the stack and the first layer's likelihood."""
        if tuple(data.in_shape) != self.in_shape:
            raise DataError(
                f"the stack takes inputs of shape {self.in_shape}, but {data.name} gives {tuple(data.in_shape)}. "
                "Build the stack with GreedyStack(data.in_shape, ...)."
            )
        first, splits = next(iter(self)), data.splits(seed)
        for x in (splits.unlabelled, splits.validation.x):
            try:
                for part in pieces(x):
                    first.check_inputs(part)
            except ValueError as error:
                raise DataError(f"layer 0 ({self.stages[0]}), {data.name}: {error}") from error

    def summary(self, k: int) -> str:
        """One-line summary of the closed stage of layer ``k``."""
        layer, record = self.trained[k], self.records[k]
        inputs, units = torch.Size(layer.in_shape).numel(), torch.Size(layer.code_shape).numel()
        monitored = record.metrics.get(layer.monitor, math.nan)
        length = f"{record.epochs} epochs in {format_duration(record.seconds)}" if record.epochs else "frozen"
        line = (
            f"{record.stage}  {inputs} to {units}  {length}  "
            f"{layer.monitor.removeprefix('val/')} {figures.nats(monitored)} nats  "
        )
        if "val/dead_units" in record.metrics:
            line += f"dead units {record.metrics['val/dead_units']:.0f} of {units}  "
        if (used := self.diagnostics[k].used_units) is not None:
            line += f"uses {used} of {units} dimensions  "
        return f"{line}identity {self.diagnostics[k].identity_text}"

    def findings(self, k: int) -> list[str]:
        """What the training of layer ``k`` shows to be wrong, one sentence each with the way out."""
        if self.records[k].epochs == 0 and k >= len(self._given):  # at random, because only the whole is trained
            return []
        return stage_findings(self.result(k), self.records[k], may_scale=k == 0 and not self.is_scaled)

    def results(self) -> list[StageResult]:
        """Training results of every trained layer."""
        return [self.result(k) for k in range(len(self.records))]

    def result(self, k: int) -> StageResult:
        """Training results of layer ``k``."""
        return stage_result(self.trained[k], self.records[k], self.diagnostics[k])


class GreedyTraining:
    """Training of a stack from its first layer to its last: provides each layer's inputs and closes its stage.

    Args:
        stack: The stack; its records are reset.
        data: As for :meth:`GreedyStack.fit`.
        pretraining: As for :meth:`GreedyStack.fit`.
        context: As for :meth:`GreedyStack.fit`.
        on_stage_end: As for :meth:`GreedyStack.fit`.

    Raises:
        DataError: If the inputs do not fit the stack or the first layer.
        ConfigError: If a setting is out of range, or the run directory holds layers already and is not resumed.
    """

    def __init__(
        self,
        stack: GreedyStack,
        data: AnyData,
        pretraining: Pretraining,
        context: RunContext,
        *,
        on_stage_end: StageEnd | None = None,
    ) -> None:
        data = as_source(data)
        if context.out is not None and not context.resume:
            RunState(Path(context.out)).check_unused(LAYER_STAGES)
        stack.check_frozen(pretraining)
        stack.check(data, context.seed)
        if context.out is None and (size := stack.disk_for_codes(data, pretraining, context.seed)):
            raise ConfigError(missing_run_directory(size))
        record_or_check_data(context.out, data, resume=context.resume)
        if stack.records:
            stack.reset_parameters()
        stack.is_scaled = not isinstance(data.transform, NoTransform)
        self.stack = stack
        self.context = context
        self.on_stage_end = on_stage_end
        self.pretraining = pretraining
        self.settings = [pretraining.stage_settings(k, stack.stages) for k in range(len(stack.layers))]
        splits, memory = data.splits(context.seed), _memory_for_codes(data, context.seed)
        self.data = splits.unlabelled, splits.validation.x
        self.codes, self.validation_codes = (
            FrozenCodes(x, name, context, memory, dtype=pretraining.codes, read_ahead=data.read_ahead)
            for name, x in (("codes", splits.unlabelled), ("validation-codes", splits.validation.x))
        )

    def inputs(self, k: int) -> tuple[list[Inputs], list[Inputs]]:
        """Training and validation inputs of layer ``k``; the former are empty if it is not trained now."""
        settings = self.settings[k]
        train = [] if settings.frozen or self.context.is_trained(settings.name) else [self.codes.get()]
        return train, [self.validation_codes.get()]

    def close(self, k: int, record: StageRecord, *, note: str = "") -> None:
        """Record the results of layer ``k``, and provide its codes to the next layer."""
        with memory_advice(record.stage, self.settings[k].batch_size):
            self._close(k, record, self.codes.get(), self.validation_codes.get(), note)
            for codes in (self.codes, self.validation_codes):
                codes.add(record.stage, list(self.stack)[k], record.device, record.processes)

    def _close(self, k: int, record: StageRecord, train: Inputs, validation: Inputs, note: str) -> None:
        layer, stage = self.stack.trained[k], record.stage
        self.stack.records.append(record)
        examples = validation[:CLOSING_EXAMPLES].cpu()
        self.stack.diagnostics.append(closing_diagnostics(layer, stage, self.context.seed, train, examples))
        if self.context.progress:
            print_line(self.stack.summary(k) + note)
            for warning in self.stack.findings(k):
                print_line(f"warning: {warning}")
        if not self.context.is_finished(stage):
            if self.on_stage_end is not None:
                self.on_stage_end(layer, record, examples)
            self.context.finish(stage)

    def finish(self, *, note: str = "", trainer: TrainerFactory | None = None) -> None:
        """Release the memory and delete the files of codes; then train all layers together, if they are unrolled."""
        self.codes.close()
        self.validation_codes.close()
        if not self.pretraining.unroll:
            return
        layers = list(self.stack)
        self.stack.is_unrolled = True
        settings = self.pretraining.unrolled_settings(UNROLLED, len(layers))
        train, validation = self.data
        record = train_stage(unroll(layers), [train], [validation], settings, self.context, trainer=trainer)
        self._close(len(layers), record, train, validation, note)


def _memory_for_codes(data: DataModule, seed: int) -> MemoryBudget:
    splits = data.splits(seed)
    pools = {id(x): x for x in (splits.unlabelled, splits.train.x, splits.validation.x, splits.test.x)}
    return MemoryBudget.remaining_after(list(pools.values()), data.memory_limit, data.read_ahead)


def _build_layer(k: int, make: LayerFactory, in_shape: Shape, below: Layer | None) -> Layer:
    try:
        layer = make(in_shape)
        layer.check_shapes()
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise ConfigError(f"layer {k}: {' '.join(str(error).split())}") from error
    if below is not None:
        try:
            layer.check_input_range(f"layer {k - 1}", *below.code_range)
        except ValueError as error:
            raise ConfigError(f"layer {k}: {error}") from error
    return layer
