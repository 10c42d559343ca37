"""The optimizer steps of a dispatch, as a loop written by hand does them: Lightning looks on between dispatches."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aepretrain.console import print_line
from aepretrain.parts.noise import Noise
from aepretrain.training.acceleration.tuning import count_gpus_once, fuse, keep_freed_memory, matmul_precision
from aepretrain.training.callbacks import KeyedNoise, wait_for
from aepretrain.training.dispatches import Dispatch, Pace
from aepretrain.training.divergence import SkipUpdates
from aepretrain.training.graphs import CudaRecorder, RecordedSteps, Recorder, reason_to_launch
from aepretrain.training.options import TrainerOptions


class Engine:
    r"""Trains a module by manual optimization, many steps in one of Lightning's.

    Every step is that of the plain loop, whatever the length of a dispatch: zero the gradients, compute the loss,
    backward, clip, update,

    .. math:: \theta \leftarrow \theta - \eta \, u\!\left( \nabla_\theta \, \ell(\theta; x_t) \right)

    so K steps in one dispatch and K dispatches of one step give the same bits. ``global_step`` counts optimizer
    steps. Hooks of callbacks for batches are called once per dispatch; ``on_before_optimizer_step`` once per step.

    Args:
        module: What to train: its ``training_step`` gives the loss of one batch.
        noise: Keys the module's noise by the step.
        pace: Learns how long a dispatch takes.
        options: How to compute a step: clipping, accumulation, CUDA graphs, precision of matrix products.
        skip: Leaves out updates that are not finite; ``None``: none is left out.
    """

    def __init__(
        self,
        module: LightningModule,
        noise: KeyedNoise,
        pace: Pace,
        options: TrainerOptions = TrainerOptions(),
        *,
        skip: SkipUpdates | None = None,
    ) -> None:
        self.module = module
        self.noise = noise
        self.pace = pace
        self.options = options
        self.skip = skip
        self.loss_of = module.training_step
        self._step: _Step | None = None

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """Put the engine between Lightning and the module, and take it away again."""
        keep_freed_memory()
        count_gpus_once()
        self.module.automatic_optimization = False
        self.module.training_step = self.training_step  # type: ignore[method-assign]
        try:
            with matmul_precision(self.options.float32_matmul):
                yield
        finally:
            if self._step is not None:
                self._step.end()
            del self.module.training_step
            self.module.automatic_optimization = True

    def training_step(self, batch: Dispatch, batch_idx: int) -> dict[str, Tensor]:
        """All steps of a dispatch; returns their ``losses``, shape ``(K,)``, or ``(K, S)`` of S seeds at once."""
        trainer = self.module.trainer
        step, count = self._step_of(trainer), _Count(trainer)
        losses, start = [], time.perf_counter()
        for position, tensors in enumerate(batch, batch.start):
            losses.append(step(tensors, position))
            count.one_more()
        count.done()
        self._learn(trainer, len(batch), start)
        return {"losses": torch.stack(losses)}

    def _step_of(self, trainer: Trainer) -> "_Step":
        """The step, made before the first dispatch, when a checkpoint has been loaded."""
        if self._step is None:
            callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
            watchers = [callback for callback in callbacks if _watches_updates(callback)]
            self._step = _Step(self, trainer, trainer.optimizers[0], watchers)
        self._step.begin()
        return self._step

    def _learn(self, trainer: Trainer, steps: int, start: float) -> None:
        if self.pace.adapts:
            wait_for(trainer.strategy.root_device)
            seconds = torch.tensor(time.perf_counter() - start, device=trainer.strategy.root_device)
            # All processes keep the same pace.
            self.pace.took(steps, float(trainer.strategy.reduce(seconds, reduce_op="mean")))


class _Step:
    """One optimizer step."""

    def __init__(self, engine: Engine, trainer: Trainer, optimizer: Optimizer, watchers: Sequence[Callback]) -> None:
        self.engine = engine
        self.trainer = trainer
        self.optimizer = optimizer
        self.watchers = watchers
        self.scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.autocast = torch.is_autocast_enabled(trainer.strategy.root_device.type)
        # Lightning's own backward is needed where gradients are synchronized between processes.
        self.alone = trainer.world_size == 1
        self._fuse()
        self.recorded = self._recorded()

    def _fuse(self) -> None:
        if self.scaler is None or not _starts_with_momentum(self.optimizer):
            fuse(self.optimizer)

    def _recorded(self) -> RecordedSteps | None:
        """The same step, recorded where the device can do that."""
        engine, recorder = self.engine, recorder_for(self.trainer.strategy.root_device)
        if recorder is None or engine.options.cuda_graphs == "off":
            return None
        if (reason := self._reason_to_launch()) is not None:
            self._launch_from_now_on(reason)
            return None
        generators = cast(Noise, engine.module.noise).generators
        step = lambda tensors: self._update(tensors, None)  # noqa: E731
        return RecordedSteps(step, self.optimizer, generators, recorder, self._launch_from_now_on)

    def _reason_to_launch(self) -> str | None:
        if not self.alone:
            return "processes share each step"
        if self.engine.skip is not None:
            return "on_nan skip looks at the gradients of each step"
        if self.watchers:
            return f"the callback {type(self.watchers[0]).__name__} looks at each step"
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        trust = self.engine.options.cuda_graphs == "on"
        return reason_to_launch(self.engine.module, self.optimizer, callbacks, trust=trust)

    def _launch_from_now_on(self, reason: str) -> None:
        print_line(f"{self.engine.noise.stage}  steps are launched kernel by kernel, not as CUDA graphs: {reason}")

    def begin(self) -> None:
        """A dispatch begins; since the last one, parameters may have been added."""
        self._fuse()
        if self.recorded is not None:
            self.recorded.begin()

    def end(self) -> None:
        """The stage ends: give back what recordings hold."""
        if self.recorded is not None:
            self.recorded.forget()

    def __call__(self, tensors: Sequence[Tensor], position: int) -> Tensor:
        if self.recorded is None:
            return self._update(tensors, position)
        self.engine.noise.key(position)
        return self.recorded(tensors)

    def _update(self, tensors: Sequence[Tensor], position: int | None) -> Tensor:
        """Loss, gradients and update; without a position the noise is keyed already."""
        if self.scaler is None:
            # Optimizers call it with gradients enabled; some, such as LBFGS, more than once.
            closure: Any = lambda: self._loss_and_gradients(tensors, position)  # noqa: E731
            return cast(Tensor, self.optimizer.step(closure))
        loss = self._loss_and_gradients(tensors, position)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _loss_and_gradients(self, tensors: Sequence[Tensor], position: int | None) -> Tensor:
        engine = self.engine
        if position is not None:
            engine.noise.key(position)
        self.optimizer.zero_grad()
        if self.autocast:
            torch.clear_autocast_cache()  # it holds the weights as they were before the last update
        if engine.options.accumulate == 1:
            loss = self._backward(tensors, position or 0, 1.0)
        else:
            parts = list(zip(*(tensor.tensor_split(engine.options.accumulate) for tensor in tensors), strict=True))
            shares = [len(part[0]) / len(tensors[0]) for part in parts]
            losses = [
                self._backward(part, position or 0, share) for part, share in zip(parts, shares, strict=True) if share
            ]
            loss = torch.stack(losses).sum(dim=0)
        self._before_update()
        return loss

    def _backward(self, tensors: Sequence[Tensor], position: int, share: float) -> Tensor:
        loss = cast(Tensor, self.engine.loss_of(tensors, position))
        if share != 1.0:
            loss = loss * share
        total = loss.sum() if loss.ndim else loss
        if not self.alone:
            self.trainer.strategy.backward(total, None)
        elif self.scaler is None:
            total.backward()
        else:
            self.scaler.scale(total).backward()
        return loss.detach()

    def _before_update(self) -> None:
        engine = self.engine
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if engine.skip is not None:
            engine.skip.look(self.optimizer)
        if engine.options.gradient_clip_val is not None:
            parameters = [weights for group in self.optimizer.param_groups for weights in group["params"]]
            nn.utils.clip_grad_norm_(parameters, engine.options.gradient_clip_val)
        for watcher in self.watchers:
            watcher.on_before_optimizer_step(self.trainer, engine.module, self.optimizer)


class _Count:
    """Lightning's counters of steps, kept as it keeps them itself in manual optimization."""

    def __init__(self, trainer: Trainer) -> None:
        self.loop = trainer.fit_loop.epoch_loop
        progress = self.loop.manual_optimization.optim_step_progress
        self.parts = (progress.total, progress.current)
        self.before = progress.total.completed

    def one_more(self) -> None:
        for part in self.parts:
            part.ready += 1
            part.completed += 1

    def done(self) -> None:
        """Loggers count steps, too; Lightning adds the one of the batch that it saw."""
        self.loop._batches_that_stepped += self.parts[0].completed - self.before - 1


def _watches_updates(callback: Callback) -> bool:
    return is_overridden("on_before_optimizer_step", callback, parent=Callback)


def _starts_with_momentum(optimizer: Optimizer) -> bool:
    """Whether a fused first update that is left out, as its gradients overflowed, would leave momentum unset."""
    return isinstance(optimizer, SGD) and any(group["momentum"] for group in optimizer.param_groups)


def recorder_for(device: torch.device) -> Recorder | None:
    """What records steps on a device; ``None`` where a step is best launched."""
    return CudaRecorder(device) if device.type == "cuda" else None


class Schedules(Callback):
    """Steps the learning-rate schedulers at the end of every epoch; those that ask for a figure where there is one."""

    MONITOR = "val/loss"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for config in trainer.lr_scheduler_configs:
            if not isinstance(config.scheduler, ReduceLROnPlateau):
                config.scheduler.step()
            elif (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0:
                config.scheduler.step(trainer.callback_metrics[self.MONITOR])
