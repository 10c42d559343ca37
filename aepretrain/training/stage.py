"""Train one stage: set it up, run its epochs and write its record."""

import re
import time
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from lightning.fabric import Fabric
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aepretrain.console import print_line
from aepretrain.data.batches import EVALUATION_BATCH, SHARE_EQUALLY, Batches
from aepretrain.data.rows import Inputs
from aepretrain.errors import ConfigError, StorageError
from aepretrain.layers.base import StageModule
from aepretrain.parts.noise import derive_seed
from aepretrain.processes import dismissing_on_failure, is_first_process
from aepretrain.results.stage import StageRecord
from aepretrain.storage.json_files import reason_of
from aepretrain.training.acceleration.kernels import fuse, matmul_precision
from aepretrain.training.acceleration.recordable import record_if_possible
from aepretrain.training.agreement import check_ranks_agree
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.chunks import ChunkLength
from aepretrain.training.context import RunContext
from aepretrain.training.devices import build_fabric, num_processes
from aepretrain.training.divergence import check_weights
from aepretrain.training.epoch_log import EpochLog
from aepretrain.training.loop import OptimizerStep, run_epochs
from aepretrain.training.noise import KeyedNoise
from aepretrain.training.options import StageSettings
from aepretrain.training.out_of_memory import memory_advice
from aepretrain.training.progress import StageProgress
from aepretrain.training.recovery.checkpoints import Checkpoints, SavePoints
from aepretrain.training.recovery.run_state import check_name
from aepretrain.training.recovery.signals import stop_if_asked
from aepretrain.training.recovery.stage_files import StageFiles
from aepretrain.training.schedules import check_schedule
from aepretrain.training.state import TrainingState, check_count
from aepretrain.training.stock import FirstCheck, TrainerFactory, train_by_lightning
from aepretrain.training.validation import validate


def train_stage(
    module: StageModule,
    train: Sequence[Inputs],
    validation: Sequence[Inputs],
    settings: StageSettings,
    context: RunContext,
    *,
    before_first_step: FirstCheck | None = None,
    trainer: TrainerFactory | None = None,
) -> StageRecord:
    """Train one module, or load it from the files of a resumed run. A frozen one is only measured.

    Args:
        module: A layer or a head.
        train: Tensors or rows of shape ``(N, ...)`` with matching indices.
        validation: The same for validation, which runs between epochs.
        settings: The stage's name and length.
        context: The context of the run.
        before_first_step: Checks the module before its first step; not called if the stage resumes from a checkpoint.
        trainer: Makes a stock Lightning Trainer, which replaces the built-in loop; ``None``: as
            ``context.trainer.engine`` says.

    Returns:
        The record of the stage. The module is on the CPU and in evaluation mode.

    Raises:
        ConfigError: If there are no epochs, a scheduler ends before them, the run directory holds the stage
            already and is not resumed, or Lightning refuses the devices, the strategy or the precision.
        DivergedError: If the loss is not finite.
        OutOfMemoryError: If memory ran out; the message names a setting that needs less.
        StoppedError: If a signal asked the run to stop; with a run directory, the built-in loop saves its state first.
    """
    stage = settings.name
    if settings.epochs < 1:
        raise ConfigError(f"a stage needs at least 1 epoch, but {stage} got 0. Leave the stage out instead.")
    files = context.files(stage)
    if context.resume and files is not None and (finished := files.load(module)) is not None:
        print_line(f"{stage}  finished before, {finished.epochs} epochs: taken as it is")
        module.eval()
        return finished
    if not context.resume and files is not None:
        files.state.check_unused(re.escape(stage))
    stop_if_asked(f"before {stage}")
    if settings.frozen:
        return _take_as_it_is(module, validation, settings, context)
    if trainer is not None or context.trainer.engine == "lightning":
        return train_by_lightning(
            module, train, validation, settings, context, before_first_step=before_first_step, trainer=trainer
        )
    return _train_by_loop(module, train, validation, settings, context, before_first_step)


def _train_by_loop(
    module: StageModule,
    train: Sequence[Inputs],
    validation: Sequence[Inputs],
    settings: StageSettings,
    context: RunContext,
    before_first_step: FirstCheck | None,
) -> StageRecord:
    stage, files, fabric, options = settings.name, context.files(settings.name), context.fabric, context.trainer
    with memory_advice(stage, settings.batch_size):
        on_device = [[tensor.to(fabric.device) for tensor in tensors] for tensors in (train, validation)]
        batches = Batches(on_device[0], settings.batch_size, seed=derive_seed(context.seed, stage))
        held_out = Batches(on_device[1], max(EVALUATION_BATCH // options.accumulate, 1), shuffle=False)
        module.to(fabric.device).train()
    skips, loggers = context.on_nan == "skip", context.loggers(stage)
    log = EpochLog(stage, loggers, fabric, skips=skips)
    best = BestWeights(module.monitor, module.mode, patience=settings.patience, keeps=settings.keep_best)
    state = TrainingState(module, *optimizer_of(module), scaler_of(fabric), log, best)
    check_schedule(stage, state.scheduler, settings.epochs * len(batches))
    if not _goes_on(state, files, context) and before_first_step is not None:
        before_first_step(module)
    if state.scaler is None:
        fuse(state.optimizer)
    noise = KeyedNoise(context.seed, stage, fabric.device, fabric.global_rank)
    take_step = OptimizerStep(state, noise, fabric, options, skips=skips)
    record_if_possible(take_step, settings, batches)
    saves = SavePoints(stage, context.saving, files, fabric, step=state.step, checks=not skips)
    progress = StageProgress(
        stage, settings.epochs, len(batches), module.monitor, first_epoch=state.epoch, is_shown=context.progress
    )
    with (
        dismissing_on_failure(),
        memory_advice(stage, settings.batch_size, options.accumulate),
        matmul_precision(options.float32_matmul),
        noise.attached_to(module),
        progress,
    ):
        length = ChunkLength(options.chunk_steps)
        on_epoch = context.on_epoch and partial(context.on_epoch, stage, module, validation)
        run_epochs(state, take_step, batches, held_out, settings, saves, progress, length, on_epoch)
        if not skips:
            check_weights(module, stage, state.step)
        keep_last = settings.may_go_on and context.saving.keep_last
        if keep_last:
            saves.save(state)
        best.restore(module)
        check_ranks_agree(module, fabric)
    for logger in loggers:
        logger.finalize("success")
    module.cpu().eval()
    record = state.record(stage, fabric)
    if files is not None and is_first_process():
        files.commit(module, record, keep_last=keep_last)
    return record


def _take_as_it_is(
    module: StageModule, validation: Sequence[Inputs], settings: StageSettings, context: RunContext
) -> StageRecord:
    """The record of a frozen module: no epochs, and the metrics of the validation data alone."""
    stage, files, fabric, begun = settings.name, context.files(settings.name), context.fabric, time.perf_counter()
    noise = KeyedNoise(context.seed, stage, fabric.device, fabric.global_rank)
    with memory_advice(stage, settings.batch_size), noise.attached_to(module):
        on_device = [tensor.to(fabric.device) for tensor in validation]
        held_out = Batches(on_device, max(EVALUATION_BATCH // context.trainer.accumulate, 1), shuffle=False)
        measured = validate(module.to(fabric.device), held_out, noise, fabric)
    module.cpu().eval()
    record = StageRecord(
        stage,
        epochs=0,
        kept_epoch=0,
        steps=0,
        seconds=time.perf_counter() - begun,
        history=[{name: float(value) for name, value in measured.items()}],
        device=str(fabric.device),
        processes=fabric.world_size,
    )
    if files is not None and is_first_process():
        files.begin(resume=context.resume)
        files.commit(module, record)
    return record


def _goes_on(state: TrainingState, files: StageFiles | None, context: RunContext) -> bool:
    """Load the checkpoint of a resumed run and return ``True``; else begin the stage and return ``False``."""
    if files is None:
        return False
    checkpoint = Checkpoints(files).load() if context.resume else None
    if checkpoint is None:
        if is_first_process():
            files.begin(resume=context.resume)
        return False
    try:
        state.load_state_dict(checkpoint)
        files.state.truncate_metrics(check_count("metrics_bytes", checkpoint["metrics_bytes"]))
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise StorageError(
            f"the checkpoint in {files.folder} does not fit this stage: {type(error).__name__}: {reason_of(error)}. "
            "Remove it to start the stage again."
        ) from error
    return True


def scaler_of(fabric: Fabric) -> GradScaler | None:
    """The gradient scaler of float16 mixed precision; ``None`` in other precisions."""
    return getattr(fabric.strategy.precision, "scaler", None)


def optimizer_of(module: StageModule) -> tuple[Optimizer, LRScheduler | None]:
    """The optimizer and the scheduler that a module configures."""
    made = module.configure_optimizers()
    return (made["optimizer"], made["lr_scheduler"]["scheduler"]) if isinstance(made, dict) else (made, None)


def check_training(context: RunContext, modules: Mapping[str, StageModule], batch_sizes: Mapping[str, int]) -> None:
    """Check, before the first stage, for errors that would otherwise occur in a later one.

    Args:
        context: The context of the run.
        modules: The modules to train, by stage.
        batch_sizes: Their batch sizes, by stage.

    Raises:
        ConfigError: If a stage's name cannot name a folder, an optimizer or a scheduler cannot be made, Lightning
            refuses the devices, the strategy or the precision, or the processes cannot share a batch equally.
    """
    for stage, module in modules.items():
        check_name(stage)
        try:
            optimizer_of(module)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{stage}: the optimizer or scheduler cannot be made: {error}") from error
    processes = num_processes(build_fabric(**context.trainer.for_fabric()))
    for stage, batch_size in batch_sizes.items():
        if batch_size % processes:
            raise ConfigError(f"{stage}: {SHARE_EQUALLY.format(batch_size=batch_size, processes=processes)}")
