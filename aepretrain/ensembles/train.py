"""Train one stage of many seeds at once: one loop, one batched module, and the same files as separate stages."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aepretrain.data.batches import EVALUATION_BATCH, Batches, EpochOrder
from aepretrain.ensembles import autoencoders, classifiers
from aepretrain.ensembles.autoencoders import SeedAutoencoders
from aepretrain.ensembles.batch import SeedBatch
from aepretrain.ensembles.classifiers import SeedClassifiers
from aepretrain.ensembles.members import SeedBest, SeedLog, SeedNoise
from aepretrain.errors import ConfigError
from aepretrain.finetuning.arrival import check_arrival
from aepretrain.heads import Classifier, Regressor
from aepretrain.layers import Autoencoder, RestrictedBoltzmannMachine, StageModule
from aepretrain.parts.noise import derive_seed
from aepretrain.results.stage import StageRecord
from aepretrain.training.acceleration.kernels import fuse, matmul_precision
from aepretrain.training.acceleration.recordable import record_if_possible
from aepretrain.training.chunks import ChunkLength
from aepretrain.training.context import RunContext, no_loggers
from aepretrain.training.loop import OptimizerStep, run_epochs
from aepretrain.training.options import StageSettings, TrainerOptions
from aepretrain.training.progress import StageProgress
from aepretrain.training.recovery.checkpoints import SavePoints
from aepretrain.training.recovery.signals import stop_if_asked
from aepretrain.training.stage import optimizer_of
from aepretrain.training.state import TrainingState

Vectorize = Literal["auto", "on", "off"]
MAX_LAYER_SIZE = 64 * 1024
"""Largest number of weights in a matrix for which batching seeds pays off on a CPU. Beyond it, little is gained, and
784-1000 is slower. See ``tests/benchmarks/many_seeds.py``."""
MAX_BYTES = 2**30
"""Largest size in bytes of the training inputs of all seeds together."""


def reason_not_batched(
    module: StageModule, x: Sequence[Tensor], context: RunContext, *, stage: str, vectorize: Vectorize = "auto"
) -> str | None:
    """Return why the seeds of a stage are trained one after another; ``None`` if they are trained at once.

    Args:
        module: The module of one of the seeds.
        x: The training inputs of each seed.
        context: The context of its run.
        stage: Name of the stage.
        vectorize: ``auto`` batches where possible and faster, ``on`` also where it is slower, ``off`` never.

    Raises:
        ConfigError: If ``vectorize`` is ``on`` and batching is not possible.
    """
    if vectorize == "off":
        return "vectorize is off"
    reason = reason_impossible(module, context)
    if reason is not None and vectorize == "on":
        raise ConfigError(f"{stage}: the seeds cannot be trained at once: {reason}. Use --vectorize auto or off.")
    if reason is None and vectorize == "auto":
        return reason_not_faster(module, x, context.trainer)
    return reason


def reason_impossible(module: StageModule, context: RunContext) -> str | None:
    """Return why the seeds of a stage cannot be trained at once; ``None`` if they can.

    Args:
        module: The module of one of the seeds.
        context: The context of its run.

    Example:
        >>> from aepretrain import Dense, PlainAutoencoder, TrainerOptions
        >>> reason_impossible(PlainAutoencoder((784,), Dense(64)), RunContext(trainer=TrainerOptions(accumulate=2)))
        'trainer.accumulate computes a step in parts'
    """
    options = context.trainer
    if options.gradient_clip_val is not None:
        return "trainer.gradient_clip_val bounds the gradients of one seed"
    if options.accumulate != 1:
        return "trainer.accumulate computes a step in parts"
    if options.precision != "32-true":
        return f"trainer.precision is {options.precision}"
    if options.devices not in (1, "1") or options.num_nodes != 1:
        return "several processes share a stage"
    if context.on_nan == "skip":
        return "on_nan skip leaves out the updates of one seed"
    if options.engine == "lightning":
        return "trainer.engine is lightning"
    if isinstance(module, Regressor):
        return "the targets of a regressor are scaled for one seed"
    if isinstance(module, Classifier):
        return classifiers.reason_not_batchable(module)
    if isinstance(module, Autoencoder):
        return autoencoders.reason_not_batchable(module)
    if isinstance(module, RestrictedBoltzmannMachine):
        return "a Boltzmann machine draws bits with computed probabilities, so rounding would change its chains"
    return f"the module {type(module).__name__} is not known to treat examples by themselves"


def reason_not_faster(module: StageModule, x: Sequence[Tensor], options: TrainerOptions) -> str | None:
    """Return why training the seeds of a stage at once does not pay off; ``None`` if it does.

    Args:
        module: The module of one of the seeds.
        x: The training inputs of each seed.
        options: The trainer options, which select the device.

    Example:
        >>> from aepretrain import Dense, PlainAutoencoder
        >>> reason_not_faster(PlainAutoencoder((784,), Dense(1000)), [torch.zeros(8, 784)] * 2, TrainerOptions())
        'matrices of 784000 weights keep a CPU busy by themselves'
    """
    if options.accelerator != "cpu" and torch.cuda.is_available():
        largest = 0
    else:
        largest = max(parameter.numel() for parameter in module.parameters())
    if largest > MAX_LAYER_SIZE:
        return f"matrices of {largest} weights keep a CPU busy by themselves"
    if (size := sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in x}.values())) > MAX_BYTES:
        return f"the inputs of all seeds together take {size / 2**30:.1f} GiB"
    return None


def train_ensemble(
    modules: Sequence[Any],
    train: Sequence[Sequence[Tensor]],
    validation: Sequence[Sequence[Tensor]],
    settings: StageSettings,
    contexts: Sequence[RunContext],
    *,
    pretrained: Sequence[nn.Module] = (),
) -> list[StageRecord]:
    """Train the modules of many seeds at once, with the results of :func:`train_stage` per seed up to rounding.

    Each seed has its own initial weights, batch order and noise, keyed as when trained alone, and its own best epoch,
    files and loggers. No checkpoints are saved: a stopped stage starts again. ``seconds`` is each seed's share.

    Args:
        modules: The layer or head of each seed; :func:`reason_impossible` must return ``None`` for it.
        train: Per seed, tensors of shape ``(N, ...)`` with matching rows; all seeds have equally many examples.
        validation: The same for validation.
        settings: The stage's name and length.
        contexts: The context of each seed's run; they differ only in seed, directory and loggers.
        pretrained: Per seed, the encoder that its head must hold before the first step; or none.

    Returns:
        The record of each seed's stage. The modules are on the CPU and in evaluation mode.

    Raises:
        DivergedError: If a metric of any seed is not finite.
        StoppedError: If a signal asked the run to stop.
    """
    stage = settings.name
    stop_if_asked(f"before {stage}")
    files = [context.files(stage) for context in contexts]
    shared = replace(contexts[0], out=None, loggers=no_loggers)
    fabric = shared.fabric
    seeds = [derive_seed(context.seed, stage) for context in contexts]
    batches = SeedBatches(_on(fabric.device, train), settings.batch_size, seeds=seeds, shuffle=True)
    held_out = SeedBatches(_on(fabric.device, validation), EVALUATION_BATCH, seeds=seeds, shuffle=False)
    module = _batched(modules, pretrained).to(fabric.device).train()
    noise = SeedNoise([context.seed for context in contexts], stage, fabric.device)
    optimizer, scheduler = optimizer_of(module)
    fuse(optimizer)
    keeps = settings.keep_best or settings.patience is not None
    best = SeedBest(len(modules), module.monitor, module.mode, patience=settings.patience, keeps=keeps)
    log = SeedLog(stage, contexts, fabric, best)
    state = TrainingState(module, optimizer, scheduler, None, log, best)
    for each in files:
        if each is not None:
            each.begin(resume=False)
    take_step = OptimizerStep(state, noise, fabric, shared.trainer)
    record_if_possible(take_step, settings, batches)
    saves = SavePoints(stage, shared.saving, None, fabric, step=0)
    title = f"{stage}, {len(modules)} seeds"
    progress = StageProgress(title, settings.epochs, len(batches), module.monitor, is_shown=shared.progress)
    length = ChunkLength(shared.trainer.chunk_steps)
    with noise.attached_to(module.model), matmul_precision(shared.trainer.float32_matmul), progress:
        run_epochs(state, take_step, batches, held_out, settings, saves, progress, length)
    best.restore(module)
    log.finish()
    module.cpu().write_back(modules)
    records = log.records(state, len(batches))
    for alone, record, own in zip(modules, records, files, strict=True):
        alone.eval()
        if own is not None:
            own.commit(alone, record)
    return records


def _batched(modules: Sequence[StageModule], pretrained: Sequence[nn.Module]) -> SeedBatch:
    """Build the batched module, read each seed's weights back from it, and compare them with the pretrained ones."""
    heads = [module for module in modules if isinstance(module, Classifier)]
    layers = [module for module in modules if isinstance(module, Autoencoder)]
    batch = SeedClassifiers(heads) if heads else SeedAutoencoders(layers)
    batch.write_back(modules)
    for head, encoder in zip(heads, pretrained, strict=bool(pretrained)):
        check_arrival(head, encoder)
    return batch


def _on(device: torch.device, tensors: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Move the tensors of each seed to a device; a tensor that seeds share stays shared."""
    moved = {id(tensor): tensor.to(device) for own in tensors for tensor in own}
    return [[moved[id(tensor)] for tensor in own] for own in tensors]


class SeedBatches(Batches):
    """Batches of many seeds: the examples of the first seed's batch, then those of the second's, and so on.

    Args:
        tensors: Per seed, tensors of shape ``(N, ...)`` with matching rows; all seeds have equally many examples.
            If all seeds share the same tensors, these are stored once.
        batch_size: Examples of each seed per optimizer step.
        seeds: Seeds of the orders.
        shuffle: Whether every epoch is shuffled anew.

    Example:
        >>> batches = SeedBatches([[torch.arange(4)], [torch.arange(4) + 10]], 2, seeds=[0, 1], shuffle=False)
        >>> [x.tolist() for (x,) in batches]
        [[0, 1, 10, 11], [2, 3, 12, 13]]
    """

    def __init__(
        self, tensors: Sequence[Sequence[Tensor]], batch_size: int, *, seeds: Sequence[int], shuffle: bool
    ) -> None:
        one = all(tensor is first for own in tensors for tensor, first in zip(own, tensors[0], strict=True))
        kept = list(tensors[0]) if one else [torch.cat(each) for each in zip(*tensors, strict=True)]
        super().__init__(kept, batch_size, shuffle=shuffle)
        self.orders = [EpochOrder(seed, shuffle) for seed in seeds]
        self.examples = len(tensors[0][0])
        self.offset = 0 if one else self.examples

    @property
    def count(self) -> int:
        return self.examples

    def order(self) -> Tensor:
        """Row indices of every seed's examples in this epoch's order, shape ``(N, S)``."""
        for order in self.orders:
            order.set_epoch(self.sampler.epoch)
        rows = [order.indices(self.examples) + place * self.offset for place, order in enumerate(self.orders)]
        return torch.stack(rows, dim=1).to(self.tensors[0].device)

    def gather(self, rows: Tensor) -> list[Tensor]:
        return super().gather(rows.t().reshape(-1))

    def _gathered_together(self) -> int:
        return 1  # the rows of a batch stand seed by seed
