"""One stage: one module, one new Trainer, from the first epoch to the record of what came out."""

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from safetensors.torch import save_model
from torch import Tensor

from aepretrain.data.batches import SHARE_EQUALLY, Batches
from aepretrain.errors import ConfigError
from aepretrain.parts.randomness import derive_seed
from aepretrain.training.callbacks import BestWeights, EpochRecord, KeyedNoise, RanksAgree
from aepretrain.training.options import TrainerOptions
from aepretrain.training.processes import is_first_process
from aepretrain.training.progress import StageProgress

LoggerFactory = Callable[[str], Sequence[Logger]]
"""Makes the loggers of a stage from its name."""

EVALUATION_BATCH = 1024


def no_loggers(stage: str) -> Sequence[Logger]:
    """Log nowhere."""
    return ()


@dataclass(frozen=True)
class RunContext:
    """What all stages of one run share.

    Args:
        seed: The run's seed.
        trainer: Devices and precision.
        out: The run directory; ``None`` writes nothing.
        loggers: Makes each stage's loggers.
        callbacks: Further callbacks of Lightning, for every stage.
        progress: Whether to show a progress bar.

    Example:
        >>> RunContext(seed=3, out=Path("runs/a")).stage_folder("00-sparse").as_posix()
        'runs/a/stages/00-sparse'
    """

    seed: int = 0
    trainer: TrainerOptions = TrainerOptions()
    out: Path | None = None
    loggers: LoggerFactory = no_loggers
    callbacks: Sequence[Callback] = ()
    progress: bool = True

    def stage_folder(self, stage: str) -> Path | None:
        """Where the checkpoints and pictures of a stage go."""
        return None if self.out is None else Path(self.out) / "stages" / stage


@dataclass(frozen=True)
class StageRecord:
    """What came out of a stage.

    Args:
        stage: The stage's name.
        epochs: Epochs trained.
        kept_epoch: The epoch, counted from 0, whose weights were kept.
        steps: Optimizer steps.
        seconds: Wall-clock time of the whole stage: start of the processes, validation and checkpoints included.
        history: The figures of every epoch, named as they were logged.
        device: The kind of device, such as ``cpu`` or ``cuda:0``.
        processes: How many processes trained together.
    """

    stage: str
    epochs: int
    kept_epoch: int
    steps: int
    seconds: float
    history: Sequence[dict[str, float]]
    device: str
    processes: int

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of the kept epoch."""
        return self.history[self.kept_epoch]


def train_stage(
    module: LightningModule,
    train: Sequence[Tensor],
    validation: Sequence[Tensor],
    context: RunContext,
    *,
    stage: str,
    epochs: int,
    batch_size: int,
    monitor: str,
    mode: str = "min",
    patience: int | None = None,
    validate_every: int = 1,
    keep_best: bool = False,
    callbacks: Sequence[Callback] = (),
) -> StageRecord:
    """Train one module with a Trainer of its own.

    Args:
        module: An autoencoder or a classifier, with an attribute ``noise``.
        train: Tensors of shape ``(N, ...)`` whose rows belong together.
        validation: The same for validation, which runs between epochs.
        context: What all stages of the run share.
        stage: Name of the stage: a folder, a key of the metrics, a part of every seed.
        epochs: Epochs at most.
        batch_size: Examples per optimizer step, over all processes.
        monitor: The validation figure that decides.
        mode: Whether it is to be ``min`` or ``max``.
        patience: Stop after this many validations without a better figure; ``None``: never.
        validate_every: Epochs from one validation to the next.
        keep_best: Put back the weights of the best epoch at the end, instead of keeping the last.
        callbacks: Further callbacks of Lightning, for this stage.

    Returns:
        The record of the stage. The module lies on the CPU and is in evaluation mode.

    Raises:
        ConfigError: If there are no epochs, or Lightning refuses the devices, the strategy or the precision.
        DivergedError: If the loss is not finite.
    """
    if epochs < 1:
        raise ConfigError(f"a stage needs at least 1 epoch, but {stage} got {epochs}. Leave the stage out instead.")
    record, best = EpochRecord(stage), BestWeights(monitor, mode)
    # The order matters: what a later one reads at the end of an epoch, an earlier one has logged.
    own: list[Callback] = [KeyedNoise(context.seed, stage), record]
    if context.progress:
        own.append(StageProgress(stage, epochs, show=monitor))
    if patience is not None:
        own.append(EarlyStopping(monitor, mode=mode, patience=patience, check_finite=False))
    if keep_best:
        own.append(best)
    trainer = build_trainer(
        context, stage, epochs, [*own, RanksAgree(), *context.callbacks, *callbacks], validate_every=validate_every
    )
    device = trainer.strategy.root_device
    batches = Batches(
        [tensor.to(device) for tensor in train], batch_size, seed=derive_seed(context.seed, stage), shuffle=True
    )
    held_out = Batches([tensor.to(device) for tensor in validation], EVALUATION_BATCH, shuffle=False)

    module.train()
    start = time.perf_counter()
    with _quiet_lightning():
        trainer.fit(module, batches, held_out)
    seconds = time.perf_counter() - start
    module.eval()
    _save_weights(module, context.stage_folder(stage))
    return StageRecord(
        stage=stage,
        epochs=len(record.epochs),
        kept_epoch=best.epoch if keep_best else len(record.epochs) - 1,
        steps=trainer.global_step,
        seconds=seconds,
        history=record.epochs,
        device=str(device),
        processes=trainer.world_size,
    )


def _save_weights(module: LightningModule, folder: Path | None) -> None:
    if folder is not None and is_first_process():
        save_model(module, str(folder / "model.safetensors"))


def check_training(context: RunContext, modules: Mapping[str, LightningModule], batch_sizes: Mapping[str, int]) -> None:
    """Try, before the first stage, what would otherwise fail in a later one.

    Args:
        context: What all stages of the run share.
        modules: The modules to be trained, by stage.
        batch_sizes: Their batch sizes.

    Raises:
        ConfigError: If an optimizer or a scheduler cannot be made, Lightning refuses the devices, the strategy or the
            precision, or the processes cannot share a batch equally.
    """
    for stage, module in modules.items():
        try:
            module.configure_optimizers()
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{stage}: the optimizer or scheduler cannot be made: {error}") from error
    processes = build_trainer(replace(context, out=None, loggers=no_loggers), "check", 1, []).world_size
    for stage, batch_size in batch_sizes.items():
        if batch_size % processes:
            raise ConfigError(f"{stage}: {SHARE_EQUALLY.format(batch_size=batch_size, processes=processes)}")


def build_trainer(
    context: RunContext, stage: str, epochs: int, callbacks: Sequence[Callback], *, validate_every: int = 1
) -> Trainer:
    """A Trainer for one stage, which writes a checkpoint after every validation where there is a run directory.

    Raises:
        ConfigError: If Lightning refuses the devices, the strategy or the precision.
    """
    folder = context.stage_folder(stage)
    if folder is not None:
        callbacks = [*callbacks, ModelCheckpoint(dirpath=folder, filename="last", enable_version_counter=False)]
    try:
        with _quiet_lightning():
            trainer = Trainer(
                **context.trainer.for_lightning(),
                max_epochs=epochs,
                check_val_every_n_epoch=validate_every,
                logger=list(context.loggers(stage)) or False,
                callbacks=list(callbacks),
                default_root_dir=folder,
                enable_checkpointing=folder is not None,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                # What validation computes stays usable with autograd: penalties may need derivatives there too.
                inference_mode=False,
            )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(
            f"trainer.strategy {context.trainer.strategy} starts processes by spawn or fork, and what they find is "
            "lost. Use ddp, from a program and not from a notebook."
        )
    return trainer


LIGHTNING_LOGGERS = ("lightning.pytorch", "lightning.fabric")
LIGHTNING_WARNINGS = (
    ".*is smaller than the logging interval.*",
    ".*LeafSpec.*is deprecated.*",
    ".*GPU available but not used.*",
    ".*exists and is not empty.*",
    # A frozen encoder is in evaluation mode on purpose; everything else was put into training mode.
    ".*in eval mode at the start of training.*",
)


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what Lightning says once per Trainer; with one Trainer per layer it would drown the figures."""
    loggers = [logging.getLogger(name) for name in LIGHTNING_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in LIGHTNING_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
