"""One stage of many seeds at once: one loop, one batched module, and the files that as many separate stages leave."""

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
from aepretrain.heads.classification import Classifier
from aepretrain.layers import Autoencoder, StageModule
from aepretrain.parts.noise import derive_seed
from aepretrain.results.stage import StageRecord
from aepretrain.training.acceleration.kernels import fuse, matmul_precision
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
"""Weights of the largest matrix up to which many seeds at once are worth while on a CPU: beyond, little is gained, and
784-1000 loses. See ``tests/benchmarks/many_seeds.py``."""
MAX_BYTES = 2**30
"""The data of all seeds together may take so much memory."""


def reason_not_batched(
    module: StageModule, x: Sequence[Tensor], context: RunContext, *, stage: str, vectorize: Vectorize = "auto"
) -> str | None:
    """Why the seeds of a stage are trained one after another; ``None`` if they are trained at once.

    Args:
        module: What one of the seeds trains.
        x: The training inputs of each seed.
        context: What the stages of its run share.
        stage: Name of the stage.
        vectorize: ``on`` does not ask what is faster; ``off`` is a reason by itself.

    Raises:
        ConfigError: If it is ``on``, and not possible.
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
    """Why the seeds of a stage have to be trained one after another; ``None`` if they can be trained at once.

    Args:
        module: What one of the seeds trains.
        context: What the stages of its run share.

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
    if isinstance(module, Classifier):
        return classifiers.reason_against(module)
    if isinstance(module, Autoencoder):
        return autoencoders.reason_against(module)
    return f"the module {type(module).__name__} is not known to treat examples by themselves"


def reason_not_faster(module: StageModule, x: Sequence[Tensor], options: TrainerOptions) -> str | None:
    """Why it is not worth while to train the seeds of a stage at once; ``None`` if it is.

    Args:
        module: What one of the seeds trains.
        x: The training inputs of each seed.
        options: Where to train.

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
    """Train the same module of many seeds at once, equal within rounding to :func:`train_stage` for one after another.

    Each seed has its own initial weights, batch order and noise, keyed as if it were alone, its own best epoch, files
    and loggers. Nothing is saved meanwhile: a stage that is stopped begins again. Seconds are each seed's share.

    Args:
        modules: Of each seed, the layer or the head, for which :func:`reason_impossible` finds no reason.
        train: Of each seed, tensors of shape ``(N, ...)`` that belong together; equally many examples.
        validation: The same for validation.
        settings: The stage's name and length.
        contexts: What the stages of each seed's run share; they differ in seed, directory and loggers alone.
        pretrained: Of each seed, the encoder that its head must hold before the first step; or none.

    Returns:
        The record of each seed's stage. The modules lie on the CPU and are in evaluation mode.

    Raises:
        DivergedError: If a loss of any seed is not finite.
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
    """The batched module; the weights of each seed are read back from it and compared with what was pretrained."""
    heads = [module for module in modules if isinstance(module, Classifier)]
    layers = [module for module in modules if isinstance(module, Autoencoder)]
    batch = SeedClassifiers(heads) if heads else SeedAutoencoders(layers)
    batch.write_back(modules)
    for head, encoder in zip(heads, pretrained, strict=bool(pretrained)):
        check_arrival(head, encoder)
    return batch


def _on(device: torch.device, tensors: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """The tensors of each seed on a device; what is one tensor for all seeds stays one."""
    moved = {id(tensor): tensor.to(device) for own in tensors for tensor in own}
    return [[moved[id(tensor)] for tensor in own] for own in tensors]


class SeedBatches(Batches):
    """The batches of many seeds: the examples of the first seed's batch, then of the second's, and so on.

    Args:
        tensors: Of each seed, tensors of shape ``(N, ...)`` that belong together, with equally many examples. What is
            one and the same for all seeds is kept once.
        batch_size: Examples of each seed per optimizer step.
        seeds: Seeds of the orders.
        shuffle: Whether every epoch has an order of its own.

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
        """The rows of the examples of every seed in this epoch's order, shape ``(N, S)``."""
        for order in self.orders:
            order.set_epoch(self.sampler.epoch)
        rows = [order.indices(self.examples) + place * self.offset for place, order in enumerate(self.orders)]
        return torch.stack(rows, dim=1).to(self.tensors[0].device)

    def gather(self, rows: Tensor) -> list[Tensor]:
        return super().gather(rows.t().reshape(-1))
