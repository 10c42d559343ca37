"""Train a stage with a stock Lightning Trainer, with any of its callbacks, loggers and strategies."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, ModelPruning, StochasticWeightAveraging
from lightning.pytorch.callbacks.weight_averaging import WeightAveraging
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch import distributed

from aepretrain.console import print_line
from aepretrain.data.batches import EVALUATION_BATCH, Batches
from aepretrain.data.rows import Inputs
from aepretrain.errors import ConfigError, DivergedError, StoppedError
from aepretrain.layers.base import StageModule
from aepretrain.parts.noise import derive_seed
from aepretrain.processes import dismissing_on_failure, is_first_process, track_launched
from aepretrain.results.stage import StageRecord
from aepretrain.training.best_weights import BestWeights
from aepretrain.training.context import RunContext
from aepretrain.training.devices import quiet_lightning
from aepretrain.training.divergence import ADVICE
from aepretrain.training.noise import KeyedNoise
from aepretrain.training.options import StageSettings
from aepretrain.training.out_of_memory import memory_advice
from aepretrain.training.recovery.signals import received, stop_if_asked, words
from aepretrain.training.schedules import check_schedule

TrainerFactory = Callable[[str], Trainer]
"""Makes a new Trainer from the name of a stage: a Trainer can fit only once, and so can most callbacks."""
CHANGE_THE_END = (ModelPruning, StochasticWeightAveraging, WeightAveraging)
"""Callbacks that change the weights at the end of training: those of the best epoch are not put back."""
FirstCheck = Callable[[StageModule], None]
"""Checks a module before its first step, and raises an error if it is not as expected."""


def train_by_lightning(
    module: StageModule,
    train: Sequence[Inputs],
    validation: Sequence[Inputs],
    settings: StageSettings,
    context: RunContext,
    *,
    before_first_step: FirstCheck | None = None,
    trainer: TrainerFactory | None = None,
) -> StageRecord:
    """Train one module with a Trainer, on the batches and with the noise of the built-in loop.

    The arguments are those of :func:`~aepretrain.training.stage.train_stage`.

    Args:
        module: The module to train.
        train: The training examples.
        validation: The validation examples.
        settings: The stage's name and length; with ``trainer``, only the name and the batch size apply.
        context: The context of the run.
        before_first_step: Checks the module before its first step.
        trainer: Makes the Trainer; ``None``: it is built from the settings and the context.

    Returns:
        The record of the stage. The module is on the CPU and in evaluation mode.

    Raises:
        ConfigError: If Lightning refuses a setting, or the Trainer trained no epoch.
        DivergedError: If the training loss of an epoch is not finite.
        OutOfMemoryError: If memory ran out.
        StoppedError: If a signal asked the run to stop; the stage starts again when the run is resumed.
    """
    stage, files = settings.name, context.files(settings.name)
    fitting = build_trainer(settings, context, module) if trainer is None else made_by(trainer, stage)
    changing = [type(each).__name__ for each in fitting.callbacks if isinstance(each, CHANGE_THE_END)]  # type: ignore[attr-defined]
    keeps = settings.keep_best and trainer is None and not changing
    if settings.keep_best and trainer is None and changing:
        print_line(f"{stage}  keeps the weights that {' and '.join(changing)} leaves, not those of the best epoch")
    batches = Batches(train, settings.batch_size, seed=derive_seed(context.seed, stage))
    follow = StageCallback(context.seed, stage, BestWeights(module.monitor, module.mode), batches, keeps=keeps)
    fitting.callbacks.append(follow)  # type: ignore[attr-defined]
    held_out = Batches(validation, EVALUATION_BATCH, shuffle=False)
    if files is not None and is_first_process():
        files.begin(resume=context.resume)
    if before_first_step is not None:
        before_first_step(module)
    start, dtype = time.perf_counter(), next(module.parameters()).dtype
    track_launched(fitting.strategy.launcher)
    with dismissing_on_failure(), memory_advice(stage, settings.batch_size), quiet_lightning():
        try:
            fitting.fit(module.train(), batches, held_out)
            if changing and follow.history:
                loggers, fitting.loggers = fitting.loggers, []
                with follow.noise.attached_to(module):
                    for measured in fitting.validate(module, held_out, verbose=False):  # none if its limit is 0
                        follow.history[-1] |= measured
                fitting.loggers = loggers
        except MisconfigurationException as error:
            raise ConfigError(f"{stage}: {' '.join(str(error).split())}") from error
        except SIGTERMException as error:
            raise StoppedError(f"stopped by SIGTERM in {stage}, which begins again.", 15) from error
    if signum := received() or follow.signum:
        raise StoppedError(f"stopped by {words(signum)} in {stage}, which begins again.", signum)
    module.to("cpu", dtype).eval()  # a Trainer of another true precision leaves its own
    if not follow.history:
        raise ConfigError(f"{stage}: the Trainer trained no epoch. Give it max_epochs, and a new one for every stage.")
    record = StageRecord(
        stage=stage,
        epochs=len(follow.history),
        kept_epoch=follow.best.epoch if keeps else len(follow.history) - 1,
        steps=fitting.global_step,
        seconds=time.perf_counter() - start,
        history=follow.history,
        device=str(fitting.strategy.root_device),
        processes=fitting.world_size,
    )
    if files is not None and is_first_process():
        files.commit(module, record)
    return record


def made_by(trainer: TrainerFactory, stage: str) -> Trainer:
    """The Trainer of a stage.

    Raises:
        ConfigError: If ``trainer`` is no function that makes one.
    """
    made = trainer(stage) if callable(trainer) else trainer
    if made is trainer or not isinstance(made, Trainer):
        raise ConfigError(
            f"trainer must be a function that makes a new Trainer for every stage, but is or gives "
            f"{type(made).__name__}. Give lambda stage: Trainer(...)."
        )
    return made


def build_trainer(settings: StageSettings, context: RunContext, module: StageModule) -> Trainer:
    """Build a Trainer from the settings and the context.

    Raises:
        ConfigError: If Lightning refuses a setting.
    """
    callbacks = [make() for make in context.callbacks]
    if settings.patience is not None:
        callbacks.append(EarlyStopping(module.monitor, mode=module.mode, patience=settings.patience))
    files = context.files(settings.name)
    try:
        with quiet_lightning():
            return Trainer(
                **context.trainer.for_fabric(),
                max_epochs=settings.epochs,
                check_val_every_n_epoch=settings.validate_every,
                gradient_clip_val=context.trainer.gradient_clip_val,
                logger=list(context.loggers(settings.name)) or False,
                callbacks=callbacks,
                default_root_dir=None if files is None else files.folder,
                enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
                enable_progress_bar=context.progress,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                # Validation has to support autograd: penalties may need derivatives there too.
                inference_mode=False,
            )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error


class StageCallback(Callback):
    """Adds to a Trainer what a stage needs: keyed noise, epoch metrics, the best weights and checks for signals.

    Args:
        seed: The run's seed.
        stage: The stage's name.
        best: The best weights so far.
        batches: What is trained on.
        keeps: Whether they are put back at the end.

    Raises:
        DivergedError: At the end of an epoch whose training loss is not finite.
    """

    def __init__(self, seed: int, stage: str, best: BestWeights, batches: Batches, *, keeps: bool) -> None:
        self.seed = seed
        self.stage = stage
        self.best = best
        self.batches = batches
        self.keeps = keeps
        self.history: list[dict[str, float]] = []
        self._handler = signal.getsignal(signal.SIGTERM)
        self.signum = 0
        """The signal that asks one of the processes to stop; 0: none does."""
        self._until_teardown = contextlib.ExitStack()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        stop_if_asked(f"before {self.stage}")
        assert isinstance(pl_module, StageModule)
        self.noise = KeyedNoise(self.seed, self.stage, pl_module.device, trainer.global_rank)
        self._until_teardown.enter_context(self.noise.attached_to(pl_module))
        self._until_teardown.callback(vars(pl_module).pop, "share_weight", None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for each in trainer.lr_scheduler_configs:
            check_schedule(self.stage, each.scheduler, trainer.estimated_stepping_batches)
        if callable(self._handler) and threading.current_thread() is threading.main_thread():
            # That of Lightning broadcasts where it arrives, in the middle of what other processes wait for.
            signal.signal(signal.SIGTERM, self._handler)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start, self._validated, self._validation_seconds = time.perf_counter(), False, 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.noise.key(trainer.current_epoch, batch_idx)
        assert isinstance(pl_module, StageModule)
        pl_module.share_weight = self.batches.weight(batch_idx)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.signum = received()
        if trainer.world_size > 1:  # all processes stop at one step: one alone would wait for the others for ever
            asked = torch.tensor(self.signum, device=pl_module.device)
            distributed.all_reduce(asked, op=distributed.ReduceOp.MAX)
            self.signum = int(asked)
        trainer.should_stop = trainer.should_stop or bool(self.signum)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.noise.key_validation()
        self._validation_start = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._validation_seconds += time.perf_counter() - self._validation_start
        self._validated = True
        if self.keeps and isinstance(pl_module, StageModule):
            self.best.update(pl_module, trainer.callback_metrics, trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        # Lightning keeps the metrics of the last validation even if this epoch had none.
        row = {name: value for name, value in metrics.items() if self._validated or not name.startswith("val/")}
        if "train/loss" not in row:
            raise ConfigError(f"{self.stage}: the Trainer logs no train/loss, which is recorded. Leave barebones out.")
        row["epoch_seconds"] = time.perf_counter() - self._start - self._validation_seconds
        if not math.isfinite(row["train/loss"]):
            epoch = trainer.current_epoch
            raise DivergedError(f"{self.stage}: train/loss of epoch {epoch} is {row['train/loss']}. {ADVICE}")
        self.history.append(row)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._until_teardown.close()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        if self.keeps:
            self.best.restore(pl_module)
