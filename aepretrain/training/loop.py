"""The training loop: the epochs of a stage and its optimizer steps, in order of execution."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from aepretrain.data.batches import Batches
from aepretrain.layers.base import StageModule
from aepretrain.parts.schedules import STEPWISE
from aepretrain.training.acceleration.freed_memory import keep_freed_memory
from aepretrain.training.acceleration.kernels import disable_nvml_check
from aepretrain.training.acceleration.recorded import RecordedStep
from aepretrain.training.chunks import ChunkLength, chunks
from aepretrain.training.divergence import check_losses
from aepretrain.training.noise import KeyedNoise
from aepretrain.training.options import StageSettings, TrainerOptions
from aepretrain.training.progress import StageProgress
from aepretrain.training.recovery.checkpoints import SavePoints
from aepretrain.training.state import TrainingState
from aepretrain.training.validation import Metrics, validate


def run_epochs(
    state: TrainingState,
    take_step: "OptimizerStep",
    batches: Batches,
    held_out: Batches,
    settings: StageSettings,
    saves: SavePoints,
    progress: StageProgress,
    chunk_length: ChunkLength,
    on_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train from the current state to the last epoch, or until patience runs out.

    Args:
        state: The module, its optimizer and scheduler, the position in training, the metrics and the best weights.
        take_step: Performs an optimizer step.
        batches: Training batches.
        held_out: Validation batches.
        settings: The stage's name and length.
        saves: Saves the state, and stops at a signal.
        progress: Shows the progress of the stage.
        chunk_length: Number of steps between checks of signals, clocks and losses.
        on_epoch: Called with the number of finished epochs after each of them.

    Raises:
        DivergedError: If a loss is not finite.
        StoppedError: If a signal asks the run to stop.
    """
    keep_freed_memory()
    disable_nvml_check()
    module, fabric, noise = state.module, take_step.fabric, take_step.noise
    while state.epoch < settings.epochs and not state.best.is_patience_over:
        for chunk in chunks(batches, state.epoch, state.position, chunk_length, saves.every_steps, take_step.block):
            saves.save_or_stop(state)
            start = time.perf_counter()
            step_losses = []
            for position, batch in chunk:
                step_losses.append(take_step(batch, state.epoch, position, batches.weight(position)))
                if isinstance(state.scheduler, STEPWISE):
                    state.scheduler.step()
            chunk_length.learn(len(chunk), start, fabric)
            losses = torch.stack(step_losses)
            state.log.add(losses, chunk.sizes, time.perf_counter() - start)
            state.position, state.step = chunk.start + len(chunk), state.step + len(chunk)
            if not take_step.skips:
                check_losses(losses, chunk, state.epoch, fabric, saves.stage, saves.files)
            progress.advance(state.step)
        validated: Metrics = {}
        if (state.epoch + 1) % settings.validate_every == 0:
            validated = validate(module, held_out, noise, fabric)
        row = state.log.close_epoch(state.epoch, state.step - 1, validated)
        if validated:
            state.best.update(module, validated, state.epoch)
        schedule(state.scheduler, validated, module.monitor)
        progress.close_epoch(state.epoch, row)
        state.epoch, state.position = state.epoch + 1, 0
        if on_epoch is not None:
            on_epoch(state.epoch)


def schedule(scheduler: LRScheduler | None, validated: Metrics, monitor: str) -> None:
    """Step a scheduler at the end of an epoch; ReduceLROnPlateau gets the monitored metric, if validated."""
    if isinstance(scheduler, ReduceLROnPlateau):
        if validated:
            scheduler.step(float(validated[monitor]))
    elif scheduler is not None and not isinstance(scheduler, STEPWISE):
        scheduler.step()


class BatchLoss(nn.Module):
    """The mean loss of a batch as the forward pass of a module, for strategies that wrap a module.

    Args:
        module: The module to train.
    """

    def __init__(self, module: StageModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, *batch: Tensor) -> Tensor:
        return self.module.mean(self.module.loss(*batch))


class OptimizerStep:
    r"""One optimizer step of the built-in loop.

    .. math:: \theta \leftarrow \theta - \eta \, u\!\left( \nabla_\theta \, \ell(\theta; x_t) \right)

    Args:
        state: The training state; its module is on the Fabric's device.
        noise: Keys the module's noise by the step.
        fabric: The strategy, which synchronizes gradients between processes, and the precision.
        options: Gradient clipping and accumulation.
        skips: Whether to skip and count updates whose gradients are not finite.
    """

    recorded: RecordedStep | None = None
    """Takes the step in place of :meth:`launch`."""

    def __init__(
        self,
        state: TrainingState,
        noise: KeyedNoise,
        fabric: Fabric,
        options: TrainerOptions,
        *,
        skips: bool = False,
    ) -> None:
        self.loss_of: nn.Module = fabric.strategy.setup_module(BatchLoss(state.module))
        self.state = state
        self.optimizer = state.optimizer
        self.noise = noise
        self.fabric = fabric
        self.options = options
        self.skips = skips

    @property
    def block(self) -> int:
        """The number of steps that are taken together; a chunk ends with the last one."""
        return 1 if self.recorded is None else self.recorded.block

    def __call__(self, batch: Sequence[Tensor], epoch: int, position: int, weight: float) -> Tensor:
        """The loss of a batch before the update that it leads to, shape ``()``; of an ensemble ``(S,)``.

        Args:
            batch: This process's share of the batch.
            epoch: The epoch.
            position: The number of the batch in its epoch.
            weight: Factor on the gradient of this share: see :meth:`~aepretrain.data.batches.Batches.weight`.
        """
        if self.recorded is None:
            return self.launch(batch, epoch, position, weight)
        return self.recorded(self, batch, epoch, position, weight)

    def launch(self, batch: Sequence[Tensor], epoch: int, position: int, weight: float) -> Tensor:
        """Take the step operation by operation, with autograd."""
        self.state.step_modes["launched"] += 1
        gradients = partial(self.gradients, batch, epoch, position, weight)
        if self.state.scaler is None:
            # Optimizers call the closure with gradients enabled; some, such as LBFGS, more than once.
            return cast(Tensor, self.optimizer.step(gradients))  # type: ignore[arg-type]
        loss = gradients()
        self.state.scaler.step(self.optimizer)
        self.state.scaler.update()
        return loss

    def gradients(self, batch: Sequence[Tensor], epoch: int, position: int, weight: float) -> Tensor:
        """Compute the gradients of the loss of a batch, clipped; return the loss."""
        self.noise.key(epoch, position)
        self.optimizer.zero_grad()
        loss = self.backward(batch, weight)
        self.unscale_and_clip()
        return loss

    def backward(self, batch: Sequence[Tensor], weight: float) -> Tensor:
        """The gradients of the loss of a batch, in so many parts as ``accumulate`` says."""
        if self.options.accumulate == 1:
            return self._backward(batch, 1.0, weight)
        parts = list(zip(*(tensor.tensor_split(self.options.accumulate) for tensor in batch), strict=True))
        if self.fabric.world_size == 1:
            parts = [part for part in parts if len(part[0])]
        # Gradients meet in every part, so all processes have equally many: instead of an empty one the whole batch,
        # which counts nothing.
        losses = [
            self._backward(part if len(part[0]) else batch, len(part[0]) / len(batch[0]), weight) for part in parts
        ]
        return torch.stack(losses).sum(dim=0)

    def _backward(self, batch: Sequence[Tensor], share: float, weight: float) -> Tensor:
        with self.fabric.autocast():
            loss = self.loss_of(*batch)
        if share != 1.0:
            loss = loss * share
        weighted = loss if weight == 1.0 else loss * weight
        self.fabric.backward(weighted.sum() if weighted.ndim else weighted)
        return loss.detach()

    def unscale_and_clip(self) -> None:
        """Unscale the gradients and clip their norm; with ``skips``, discard them if they are not finite."""
        if self.state.scaler is not None:
            self.state.scaler.unscale_(self.optimizer)
        if self.skips:
            self._skip_if_not_finite()
        if self.options.gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self._weights(), self.options.gradient_clip_val)

    def _skip_if_not_finite(self) -> None:
        gradients = [weight.grad for weight in self._weights() if weight.grad is not None]
        if gradients and not torch.stack([gradient.isfinite().all() for gradient in gradients]).all():
            # An optimizer ignores weights without a gradient: no momentum, no weight decay.
            self.optimizer.zero_grad(set_to_none=True)
            self.state.skipped += 1

    def _weights(self) -> list[nn.Parameter]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]
