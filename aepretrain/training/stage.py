"""One stage: one module, one new Trainer, from the first epoch to the record of what came out."""

import contextlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from aepretrain.console import print_line
from aepretrain.data.batches import SHARE_EQUALLY, Batches
from aepretrain.data.rows import Inputs
from aepretrain.errors import ConfigError
from aepretrain.parts.noise import derive_seed
from aepretrain.processes import dismiss_launched, is_first_process
from aepretrain.training.callbacks import BestWeights, EpochRecord, KeyedNoise, RanksAgree
from aepretrain.training.dispatches import Dispatches, Pace
from aepretrain.training.divergence import FiniteLoss, SkipUpdates
from aepretrain.training.engine import Engine, Schedules
from aepretrain.training.options import OnNaN, Saving, TrainerOptions
from aepretrain.training.out_of_memory import MemoryAdvice
from aepretrain.training.progress import StageProgress
from aepretrain.training.recovery.checkpoints import CheckpointFiles
from aepretrain.training.recovery.save_points import SavePoints
from aepretrain.training.recovery.signals import NoSignals, stop_if_asked
from aepretrain.training.recovery.stage_files import StageFiles, StageRecord, check_name

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
        saving: How often a stage saves where it stands.
        on_nan: What to do when a loss is not finite: ``stop``, or ``skip`` the update and count.
        resume: Take up what ``out`` holds: finished stages as they are, the one that ran where it last saved.

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
    saving: Saving = Saving()
    on_nan: OnNaN = "stop"
    resume: bool = False

    def stage_folder(self, stage: str) -> Path | None:
        """Where the checkpoints and pictures of a stage go."""
        files = self.files(stage)
        return None if files is None else files.folder

    def files(self, stage: str) -> StageFiles | None:
        """What a stage leaves on the disk; ``None`` without a run directory."""
        return None if self.out is None else StageFiles(Path(self.out), stage)

    def is_finished(self, stage: str) -> bool:
        """Whether a run that is resumed has nothing left to do for a stage, pictures included."""
        files = self.files(stage)
        return self.resume and files is not None and files.state.stage(stage).get("status") == "finished"

    def is_trained(self, stage: str) -> bool:
        """Whether a run that is resumed takes the weights of a stage from its files."""
        files = self.files(stage)
        return self.resume and files is not None and files.is_trained

    def finish(self, stage: str) -> None:
        """Record that a stage left everything it has to leave."""
        if (files := self.files(stage)) is not None:
            files.state.finish(stage)


def train_stage(
    module: LightningModule,
    train: Sequence[Inputs],
    validation: Sequence[Inputs],
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
        train: Tensors or rows of shape ``(N, ...)`` that belong together.
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
        OutOfMemoryError: If memory ran out; the message names a setting that would need less.
    """
    if epochs < 1:
        raise ConfigError(f"a stage needs at least 1 epoch, but {stage} got {epochs}. Leave the stage out instead.")
    files = context.files(stage)
    if context.resume and files is not None and (before := files.load(module, callbacks)) is not None:
        print_line(f"{stage}  finished before, {before.epochs} epochs: taken as it is")
        module.eval()
        return before
    stop_if_asked(f"before {stage}")
    skip = SkipUpdates() if context.on_nan == "skip" else None
    record, best = EpochRecord(stage, skip=skip is not None), BestWeights(monitor, mode)
    finite = None if skip else FiniteLoss(stage, files)
    noise = KeyedNoise(context.seed, stage)
    # The order matters: what a later one reads at the end of an epoch, an earlier one has logged.
    own: list[Callback] = [SavePoints(stage, context.saving, files, finite), noise]
    own += [callback for callback in (finite, skip) if callback is not None]
    own += [record, Schedules()]
    if context.progress:
        own.append(StageProgress(stage, epochs, show=monitor))
    if patience is not None:
        own.append(EarlyStopping(monitor, mode=mode, patience=patience, check_finite=False))
    if keep_best:
        own.append(best)
    options, pace = context.trainer, Pace(context.trainer.dispatch)
    memory = MemoryAdvice(stage, batch_size, options.accumulate, module.training_step)
    own += [memory, RanksAgree()]
    trainer = build_trainer(
        context, stage, epochs, [*own, *context.callbacks, *callbacks], validate_every=validate_every
    )
    device = trainer.strategy.root_device
    with memory.given():
        batches = Batches(
            [tensor.to(device) for tensor in train], batch_size, seed=derive_seed(context.seed, stage), shuffle=True
        )
        held_out = Batches(
            [tensor.to(device) for tensor in validation], max(EVALUATION_BATCH // options.accumulate, 1), shuffle=False
        )
    engine = Engine(module, noise, pace, options, skip=skip)
    dispatches = Dispatches(batches, pace, context.saving.every_steps if files is not None else None)
    module.train()
    start = time.perf_counter()
    checkpoint = None if files is None else _begin(files, resume=context.resume)
    with memory.given(), engine.driving(), record.figures.of(module):
        fit_quietly(trainer, module, dispatches, held_out, checkpoint)
        steps = trainer.global_step
    module.eval()
    closed = StageRecord(
        stage=stage,
        epochs=len(record.epochs),
        kept_epoch=best.epoch if keep_best else len(record.epochs) - 1,
        steps=steps,
        seconds=time.perf_counter() - start + record.seconds_before,
        history=record.epochs,
        device=str(device),
        processes=trainer.world_size,
        skipped_steps=skip.skipped if skip else 0,
    )
    if files is not None and is_first_process():
        files.commit(module, closed, callbacks)
    return closed


def _begin(files: StageFiles, *, resume: bool) -> Path | None:
    """The checkpoint that the stage goes on from; without one it is recorded as begun, and starts afresh."""
    checkpoint = files.checkpoint() if resume else None
    if checkpoint is not None:
        print_line(f"{files.stage}  goes on from {checkpoint}")
    elif is_first_process():
        files.begin(resume=resume)
    return checkpoint


def fit_quietly(
    trainer: Trainer, module: LightningModule, batches: Dispatches, held_out: Batches, checkpoint: Path | None
) -> None:
    """Train; if that fails, the processes that were launched for it are not left behind."""
    try:
        with _quiet_lightning():
            trainer.fit(module, batches, held_out, ckpt_path=checkpoint, weights_only=True)
    except BaseException:
        dismiss_launched()
        raise


def check_training(context: RunContext, modules: Mapping[str, LightningModule], batch_sizes: Mapping[str, int]) -> None:
    """Try, before the first stage, what would otherwise fail in a later one.

    Args:
        context: What all stages of the run share.
        modules: The modules to be trained, by stage.
        batch_sizes: Their batch sizes.

    Raises:
        ConfigError: If a stage's name cannot name a folder, an optimizer or a scheduler cannot be made, Lightning
            refuses the devices, the strategy or the precision, or the processes cannot share a batch equally.
    """
    for stage, module in modules.items():
        check_name(stage)
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
    """A Trainer for one stage, with checkpoint files of our own where there is a run directory.

    Raises:
        ConfigError: If Lightning refuses the devices, the strategy or the precision.
    """
    files = context.files(stage)
    try:
        with _quiet_lightning():
            trainer = Trainer(
                **context.trainer.for_lightning(),
                max_epochs=epochs,
                check_val_every_n_epoch=validate_every,
                logger=list(context.loggers(stage)) or False,
                callbacks=list(callbacks),
                default_root_dir=None if files is None else files.folder,
                plugins=None if files is None else [CheckpointFiles(files.state, stage)],
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                # What validation computes stays usable with autograd: penalties may need derivatives there too.
                inference_mode=False,
            )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    trainer._signal_connector = NoSignals(trainer)
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
    # Schedulers are stepped by Schedules, which knows what their figure is.
    ".*lr scheduler dict contains the key.*",
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
