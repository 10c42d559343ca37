"""One stage of many seeds at once: one Trainer, one batched module, and what as many separate stages would leave."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from aepretrain.autoencoders import Autoencoder
from aepretrain.data.batches import Batches, EpochOrder
from aepretrain.errors import ConfigError, DivergedError
from aepretrain.parts.randomness import derive_seed
from aepretrain.training.callbacks import EpochRecord, KeyedNoise, give_noise, wait_for
from aepretrain.training.dispatches import Dispatches, Pace
from aepretrain.training.divergence import CAUSES, FiniteLoss
from aepretrain.training.engine import Engine, Schedules
from aepretrain.training.options import TrainerOptions
from aepretrain.training.progress import StageProgress, say
from aepretrain.training.saving import SavePoints
from aepretrain.training.seed_batch import SeedBatch, reason_against
from aepretrain.training.signals import stop_if_asked
from aepretrain.training.stage import EVALUATION_BATCH, RunContext, build_trainer, fit_quietly, no_loggers
from aepretrain.training.stage_files import StageRecord

Vectorize = Literal["auto", "on", "off"]

LARGEST_LAYER = 64 * 1024
"""Weights of the largest matrix up to which many seeds at once are worth while on a CPU: beyond, 1.3 to 1.6 times
faster with one thread, for as many times the memory. See ``tests/benchmarks/many_seeds.py``."""
MOST_BYTES = 2**30
"""The data of all seeds together may take so much memory."""


def at_once(
    layer: Autoencoder,
    x: Sequence[Tensor],
    context: RunContext,
    patience: int | None,
    *,
    stage: str,
    vectorize: Vectorize = "auto",
) -> bool:
    """Whether the seeds of a layer are trained at once; if not, the reason is said.

    Args:
        layer: The layer of one of the seeds.
        x: The training inputs of each seed.
        context: What the stages of its run share.
        patience: That of the stage.
        stage: Name of the stage.
        vectorize: ``on`` does not ask what is faster; ``off`` is no.

    Raises:
        ConfigError: If it is ``on``, and not possible.
    """
    if vectorize == "off":
        return False
    reason = reason_apart(layer, context, patience)
    if reason is not None and vectorize == "on":
        raise ConfigError(f"{stage}: the seeds cannot be trained at once: {reason}. Use --vectorize auto or off.")
    if vectorize == "auto" and reason is None:
        reason = reason_slow(layer, x, context.trainer)
    if reason is not None:
        say(f"{stage}  {len(x)} seeds one after another: {reason}")
    return reason is None


def reason_apart(layer: Autoencoder, context: RunContext, patience: int | None) -> str | None:
    """Why the seeds of a layer have to be trained one after another; ``None`` if they can be trained at once.

    Args:
        layer: The layer of one of the seeds.
        context: What the stages of its run share.
        patience: That of the stage.

    Example:
        >>> from aepretrain import Dense, PlainAutoencoder
        >>> reason_apart(PlainAutoencoder((784,), Dense(64)), RunContext(), patience=3)
        'patience stops each seed at an epoch of its own'
    """
    options = context.trainer
    if patience is not None:
        return "patience stops each seed at an epoch of its own"
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
    if context.callbacks:
        return "callbacks look at one seed"
    return reason_against(layer)


def reason_slow(layer: Autoencoder, x: Sequence[Tensor], options: TrainerOptions) -> str | None:
    """Why it is not worth while to train the seeds of a layer at once; ``None`` if it is.

    Args:
        layer: The layer of one of the seeds.
        x: The training inputs of each seed.
        options: Where to train.

    Example:
        >>> from aepretrain import Dense, PlainAutoencoder
        >>> reason_slow(PlainAutoencoder((784,), Dense(1000)), [torch.zeros(8, 784)] * 2, TrainerOptions())
        'matrices of 784000 weights keep a CPU busy by themselves'
    """
    if options.accelerator != "cpu" and torch.cuda.is_available():
        largest = 0
    else:
        largest = max(parameter.numel() for parameter in layer.parameters())
    if largest > LARGEST_LAYER:
        return f"matrices of {largest} weights keep a CPU busy by themselves"
    if (size := sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in x}.values())) > MOST_BYTES:
        return f"the inputs of all seeds together take {size / 2**30:.1f} GiB"
    return None


def train_seeds(
    layers: Sequence[Autoencoder],
    train: Sequence[Tensor],
    validation: Sequence[Tensor],
    contexts: Sequence[RunContext],
    *,
    stage: str,
    epochs: int,
    batch_size: int,
    monitor: str,
) -> list[StageRecord]:
    """Train the same layer of many seeds at once, equal within rounding to :func:`train_stage` for one after another.

    Each seed has its own initial weights, batch order and noise, keyed as if it were alone, and its own files and
    loggers. Nothing is saved meanwhile: a stage that is stopped begins again. Seconds are each seed's share.

    Args:
        layers: The layer of each seed, for which :func:`reason_apart` finds no reason.
        train: The inputs of each seed, shape ``(N, *in_shape)``, equally many.
        validation: The same for validation.
        contexts: What the stages of each seed's run share; they differ in seed, directory and loggers alone.
        stage: Name of the stage.
        epochs: Epochs, at least 1.
        batch_size: Examples of each seed per optimizer step.
        monitor: The validation figure to show.

    Returns:
        The record of each seed's stage. The layers lie on the CPU and are in evaluation mode.

    Raises:
        DivergedError: If a loss of any seed is not finite.
    """
    stop_if_asked(f"before {stage}")
    files = [context.files(stage) for context in contexts]
    shared = replace(contexts[0], out=None, loggers=no_loggers)
    noise, record = SeedNoise([context.seed for context in contexts], stage), SeedRecords(stage, contexts)
    finite = FiniteLoss(stage, None)
    own: list[Callback] = [SavePoints(stage, shared.saving, None, finite), noise, finite, record, Schedules()]
    if shared.progress:
        own.append(StageProgress(f"{stage}, {len(layers)} seeds", epochs, show=monitor))
    trainer = build_trainer(shared, stage, epochs, own)
    device = trainer.strategy.root_device
    seeds = [derive_seed(context.seed, stage) for context in contexts]
    batches = SeedBatches(_on(device, train), batch_size, seeds=seeds, shuffle=True)
    held_out = SeedBatches(_on(device, validation), EVALUATION_BATCH, seeds=seeds, shuffle=False)
    module, pace = SeedBatch(layers), Pace(shared.trainer.dispatch)
    module.train()
    start = time.perf_counter()
    for each in files:
        if each is not None:
            each.begin(resume=False)
    with Engine(module, noise, pace, shared.trainer).driving():
        fit_quietly(trainer, module, Dispatches(batches, pace), held_out, None)
        steps = trainer.global_step
    seconds = (time.perf_counter() - start) / len(layers)
    module.cpu().give_back(layers)
    closed = []
    for layer, history, each in zip(layers, record.histories, files, strict=True):
        layer.eval()
        closed.append(StageRecord(stage, epochs, epochs - 1, steps, seconds, history, str(device), processes=1))
        if each is not None:
            each.commit(layer, closed[-1], ())
    return closed


def _on(device: torch.device, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors on a device; what is one tensor for all seeds stays one."""
    if all(tensor is tensors[0] for tensor in tensors):
        return [tensors[0].to(device)] * len(tensors)
    return [tensor.to(device) for tensor in tensors]


class SeedNoise(KeyedNoise):
    """Give a batch of seeds one generator per seed, each keyed as if the seed were alone.

    Args:
        seeds: The runs' seeds.
        stage: The stage's name.
    """

    def __init__(self, seeds: Sequence[int], stage: str) -> None:
        self.stage = stage
        self.each = [KeyedNoise(seed, stage) for seed in seeds]

    @property
    def state_key(self) -> str:
        return type(self).__name__

    def key(self, step: int) -> None:
        for noise in self.each:
            noise.key(step)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for noise in self.each:
            noise.on_fit_start(trainer, pl_module)
        give_noise(pl_module, [noise.generator for noise in self.each])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for noise in self.each:
            noise.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for noise in self.each:
            noise.on_validation_start(trainer, pl_module)


class SeedRecords(EpochRecord):
    """Record of every epoch, per seed, in the record and the loggers of each.

    Args:
        stage: The stage's name.
        contexts: Make each seed's loggers.

    Raises:
        DivergedError: At the end of an epoch in which a seed's loss is not finite; the message names the seed.
    """

    def __init__(self, stage: str, contexts: Sequence[RunContext]) -> None:
        super().__init__(stage)
        self.seeds = [context.seed for context in contexts]
        self.loggers = [list(context.loggers(stage)) for context in contexts]
        self.histories: list[list[dict[str, float]]] = [[] for _ in contexts]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SeedBatch)
        wait_for(pl_module.device)
        seconds = time.perf_counter() - self._start - self._validation_seconds
        means = self._mean_loss(pl_module.device).tolist()
        epoch, step = trainer.current_epoch, trainer.global_step - 1
        for place, (seed, loss) in enumerate(zip(self.seeds, means, strict=True)):
            validated = pl_module.figures[place]
            own = {"train/loss": loss, "epoch_seconds": seconds / len(self.seeds)}
            for name, value in (*own.items(), *validated.items()):
                if not torch.tensor(value).isfinite():
                    raise DivergedError(f"{self.stage}, seed {seed}: {name} of epoch {epoch + 1} is {value}. {CAUSES}")
            for logger in self.loggers[place]:
                logger.log_metrics({**validated, "epoch": epoch}, step)
                logger.log_metrics({**own, "epoch": epoch}, step)
            self.histories[place].append({**validated, **own})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in (each for loggers in self.loggers for each in loggers):
            logger.finalize("success")


class SeedBatches(Batches):
    """The batches of many seeds: the examples of the first seed's batch, then of the second's, and so on.

    Args:
        tensors: Inputs of each seed, shape ``(N, ...)``, equally many; one and the same tensor is kept once.
        batch_size: Examples of each seed per optimizer step.
        seeds: Seeds of the orders.
        shuffle: Whether every epoch has an order of its own.

    Example:
        >>> batches = SeedBatches([torch.arange(4), torch.arange(4) + 10], 2, seeds=[0, 1], shuffle=False)
        >>> [x.tolist() for (x,) in batches]
        [[0, 1, 10, 11], [2, 3, 12, 13]]
    """

    def __init__(self, tensors: Sequence[Tensor], batch_size: int, *, seeds: Sequence[int], shuffle: bool) -> None:
        one = all(tensor is tensors[0] for tensor in tensors)
        super().__init__([tensors[0] if one else torch.cat(list(tensors))], batch_size, shuffle=shuffle)
        self.orders = [EpochOrder(seed, shuffle) for seed in seeds]
        self.examples = len(tensors[0])
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
