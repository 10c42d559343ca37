"""The per-seed state of an ensemble in training: noise, best epoch and metrics."""

import math
from collections.abc import Sequence

import torch
from lightning.fabric import Fabric
from lightning.pytorch.loggers import Logger
from torch import Tensor

from aepretrain.ensembles.noise import EnsembleNoise
from aepretrain.errors import DivergedError
from aepretrain.layers.base import StageModule
from aepretrain.results.stage import StageRecord
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.context import RunContext
from aepretrain.training.divergence import ADVICE
from aepretrain.training.epoch_log import EpochLog, log_row
from aepretrain.training.noise import KeyedNoise
from aepretrain.training.state import TrainingState
from aepretrain.training.validation import Metrics


class SeedNoise(KeyedNoise):
    """One generator per seed, keyed as when the seed is trained alone.

    Args:
        seeds: The runs' seeds.
        stage: The stage's name.
        device: Device on which the noise is drawn.
    """

    def __init__(self, seeds: Sequence[int], stage: str, device: torch.device) -> None:
        self.each = [KeyedNoise(seed, stage, device, rank=0) for seed in seeds]

    def key(self, epoch: int, step: int) -> None:
        for noise in self.each:
            noise.key(epoch, step)

    def key_validation(self) -> None:
        for noise in self.each:
            noise.key_validation()

    def source(self) -> EnsembleNoise:
        return EnsembleNoise([noise.generator for noise in self.each])


class SeedBest(BestWeights):
    """The weights of each seed's best epoch, and early stopping per seed.

    A stopped seed is still computed with the others, but its weights and metrics are no longer kept or recorded.

    Args:
        seeds: Number of seeds.
        monitor: The monitored validation metric.
        mode: ``min`` or ``max``.
        patience: Stop a seed after this many validations without improvement; ``None``: never.
        keeps: Whether the best weights are kept and restored at the end.
    """

    def __init__(self, seeds: int, monitor: str, mode: str, *, patience: int | None, keeps: bool) -> None:
        super().__init__(monitor, mode, patience=patience, keeps=keeps)
        self.bests = [self.best] * seeds
        self.epochs = [-1] * seeds
        self.stopped: list[int | None] = [None] * seeds
        """The epoch in which each seed was stopped; ``None`` while it is still trained."""
        self._waited = [0] * seeds

    def update(self, module: StageModule, figures: Metrics, epoch: int) -> None:
        weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
        if self.keeps and not self.weights:
            self.weights = {name: tensor.clone() for name, tensor in weights.items()}
        for place, score in enumerate(self.scores(figures)):
            if self.stopped[place] is None:
                self._update_one(place, score, weights, epoch)

    def _update_one(self, place: int, score: tuple[float, float], weights: dict[str, Tensor], epoch: int) -> None:
        if score > self.bests[place]:
            self.bests[place], self.epochs[place], self._waited[place] = score, epoch, 0
            if self.keeps:
                for name, tensor in weights.items():
                    self.weights[name][place] = tensor[place]
        else:
            self._waited[place] += 1
            if self._waited[place] == self.patience:
                self.stopped[place] = epoch

    @property
    def is_patience_over(self) -> bool:
        return None not in self.stopped

    @torch.no_grad()
    def restore(self, module: StageModule) -> None:
        for name, parameter in module.named_parameters():
            if name in self.weights:
                parameter.copy_(self.weights[name])


class SeedLog(EpochLog):
    """Writes each seed's epoch metrics to its own history and loggers.

    Args:
        stage: The stage's name.
        contexts: One per seed; they make the loggers.
        fabric: The single process that trains all seeds.
        best: Best epochs and stopped seeds.

    Raises:
        DivergedError: At the end of an epoch in which a metric of a seed is not finite; the message names the seed.
    """

    def __init__(self, stage: str, contexts: Sequence[RunContext], fabric: Fabric, best: SeedBest) -> None:
        super().__init__(stage, (), fabric)
        self.seeds = [context.seed for context in contexts]
        self.each: list[Sequence[Logger]] = [list(context.loggers(stage)) for context in contexts]
        self.best = best
        self.histories: list[list[dict[str, float]]] = [[] for _ in contexts]

    def close_epoch(self, epoch: int, step: int, validated: Metrics) -> dict[str, float]:
        """Write one row for each seed that is not stopped; return the means over all seeds for display."""
        figures = {**validated, "train/loss": self._mean_loss()}
        values = torch.stack(list(figures.values()), dim=1).tolist()
        for place, own in enumerate(values):
            if self.best.stopped[place] is None:
                row = {**dict(zip(figures, own, strict=True)), "epoch_seconds": self.seconds / len(self.seeds)}
                self._check(place, row, epoch)
                log_row(self.each[place], row, epoch, step)
                self.histories[place].append(row)
        self.begin_epoch()
        return {name: float(value.mean()) for name, value in figures.items()}

    def _check(self, place: int, row: dict[str, float], epoch: int) -> None:
        for name, value in row.items():
            if not math.isfinite(value):
                where = f"{self.stage}, seed {self.seeds[place]}"
                raise DivergedError(f"{where}: {name} of epoch {epoch} is {value}. {ADVICE}")

    def finish(self) -> None:
        """Close the loggers."""
        for logger in (logger for loggers in self.each for logger in loggers):
            logger.finalize("success")

    def records(self, state: TrainingState, epoch_steps: int) -> list[StageRecord]:
        """Records of the finished stage, one per seed; ``seconds`` is each seed's share.

        Args:
            state: The final training state.
            epoch_steps: Optimizer steps per epoch.
        """
        return [
            StageRecord(
                stage=self.stage,
                epochs=len(history),
                kept_epoch=kept if self.best.keeps else len(history) - 1,
                steps=len(history) * epoch_steps,
                seconds=state.seconds / len(self.seeds),
                history=history,
                device=str(self.fabric.device),
                processes=1,
            )
            for history, kept in zip(self.histories, self.best.epochs, strict=True)
        ]
