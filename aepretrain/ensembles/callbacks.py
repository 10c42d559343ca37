"""What one stage of many seeds needs around Lightning's loop: the noise, the record and the best epoch of each."""

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from aepretrain.ensembles.batch import SeedBatch
from aepretrain.ensembles.noise import EnsembleNoise
from aepretrain.errors import DivergedError
from aepretrain.training.callbacks import EpochRecord, KeyedNoise, give_noise, wait_for
from aepretrain.training.divergence import CAUSES
from aepretrain.training.stage import RunContext


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
        give_noise(pl_module, EnsembleNoise([noise.generator for noise in self.each]))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for noise in self.each:
            noise.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for noise in self.each:
            noise.on_validation_start(trainer, pl_module)


class SeedBest(Callback):
    """Keep the weights of each seed's best epoch, and stop each seed that gets no better.

    A seed that is stopped is computed on with the others, but nothing of it is kept or recorded any more.

    Args:
        seeds: How many seeds.
        monitor: The validation figure.
        mode: ``min`` or ``max``.
        patience: Stop a seed after this many validations without a better figure; ``None``: never.
    """

    def __init__(self, seeds: int, monitor: str, mode: str, patience: int | None) -> None:
        self.monitor = monitor
        self.sign = {"min": -1.0, "max": 1.0}[mode]
        self.patience = patience
        self.best = [-float("inf")] * seeds
        self.epochs = [-1] * seeds
        self.stopped: list[int | None] = [None] * seeds
        """The epoch in which each seed was stopped."""
        self._waited = [0] * seeds
        self._weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SeedBatch)
        weights = {name: parameter.detach() for name, parameter in pl_module.named_parameters()}
        if not self._weights:
            self._weights = {name: tensor.clone() for name, tensor in weights.items()}
        for place, figures in enumerate(pl_module.figures):
            if self.stopped[place] is None:
                self._look(place, self.sign * figures[self.monitor], weights, trainer.current_epoch)
        if None not in self.stopped:
            trainer.should_stop = True

    def _look(self, place: int, value: float, weights: dict[str, Tensor], epoch: int) -> None:
        if value > self.best[place]:
            self.best[place], self.epochs[place], self._waited[place] = value, epoch, 0
            for name, tensor in weights.items():
                self._weights[name][place] = tensor[place]
        else:
            self._waited[place] += 1
            if self._waited[place] == self.patience:
                self.stopped[place] = epoch

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, parameter in pl_module.named_parameters():
            parameter.copy_(self._weights[name])


class SeedRecords(EpochRecord):
    """Record of every epoch, per seed, in the record and the loggers of each.

    Args:
        stage: The stage's name.
        contexts: Make each seed's loggers.
        best: Knows which seeds were stopped; ``None``: none is.

    Raises:
        DivergedError: At the end of an epoch in which a seed's loss is not finite; the message names the seed.
    """

    def __init__(self, stage: str, contexts: Sequence[RunContext], best: SeedBest | None = None) -> None:
        super().__init__(stage)
        self.seeds = [context.seed for context in contexts]
        self.loggers = [list(context.loggers(stage)) for context in contexts]
        self.best = best
        self.histories: list[list[dict[str, float]]] = [[] for _ in contexts]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SeedBatch)
        wait_for(pl_module.device)
        seconds = time.perf_counter() - self._start - self._validation_seconds
        means = self._mean_loss(pl_module.device).tolist()
        for place, loss in enumerate(means):
            if self.best is None or self.best.stopped[place] in (None, trainer.current_epoch):
                own = {"train/loss": loss, "epoch_seconds": seconds / len(self.seeds)}
                self._close(trainer, place, pl_module.figures[place] if self._validated else {}, own)

    def _close(self, trainer: Trainer, place: int, validated: dict[str, float], own: dict[str, float]) -> None:
        """The epoch of one seed."""
        epoch, step = trainer.current_epoch, trainer.global_step - 1
        for name, value in (*own.items(), *validated.items()):
            if not math.isfinite(value):
                where = f"{self.stage}, seed {self.seeds[place]}"
                raise DivergedError(f"{where}: {name} of epoch {epoch + 1} is {value}. {CAUSES}")
        for logger in self.loggers[place]:
            for row in filter(None, (validated, own)):
                logger.log_metrics({**row, "epoch": epoch}, step)
        self.histories[place].append({**validated, **own})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for logger in (each for loggers in self.loggers for each in loggers):
            logger.finalize("success")
