"""Which steps can be recorded, as far as can be told before the first one."""

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import Metric

from aepretrain.console import print_line
from aepretrain.data.batches import Batches
from aepretrain.layers.base import StageModule
from aepretrain.parts.corruptions import Corruption
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.parts.penalties import SparsityPenalty
from aepretrain.results.stage import StepMode
from aepretrain.training.acceleration.compiled import RECORDED, block_length, pays_off, reason_of_machine
from aepretrain.training.acceleration.recorded import LAUNCHED, RecordedStep
from aepretrain.training.acceleration.torch_internals import has_hooks
from aepretrain.training.options import StageSettings

if TYPE_CHECKING:
    from aepretrain.training.loop import OptimizerStep

TRUSTED = ("aepretrain", "lightning", "torch", "torchmetrics", "torchvision")
"""Packages whose parts compute from the batch, the weights and the noise alone."""
KEPT = "the stage goes on as its checkpoint was saved, with {mode} steps"


def record_if_possible(step: "OptimizerStep", settings: StageSettings, batches: Batches) -> None:
    """Let a step be recorded or compiled as ``trainer.steps`` says, if it can be; print why where it cannot.

    A stage that resumes from a checkpoint keeps its mode. Where it cannot, as without a compiler, a line says so.

    Args:
        step: The optimizer step.
        settings: The stage's name and length.
        batches: Its training batches.
    """
    mode = _mode(step, settings, batches)
    if mode != "launched":
        step.recorded = RecordedStep(step.optimizer, settings.name, batches.is_whole if mode == "compiled" else None)
    step.state.change_mode(settings.name, mode)


def _mode(step: "OptimizerStep", settings: StageSettings, batches: Batches) -> StepMode:
    stage, steps, before = settings.name, step.options.steps, step.state.step_mode
    if steps == "launched":
        return "launched"
    trust = steps in ("recorded", "compiled")
    reason = _reason_of_run(step) or reason_of_module(step.state.module, step.optimizer, trust=trust)
    if before == "launched":
        reason = KEPT.format(mode=before)
    if reason is not None:
        print_line(LAUNCHED.format(stage=stage, reason=reason))
        return "launched"
    weights = sum(weights.numel() for group in step.optimizer.param_groups for weights in group["params"])
    pays = before == "compiled" or pays_off(settings, len(batches), weights)
    if steps == "recorded" or (steps == "auto" and not pays):
        return "recorded"
    block = block_length(step.optimizer)
    if before == "recorded":
        reason = KEPT.format(mode=before)
    elif not batches.is_whole(block - 1):
        reason = f"an epoch has fewer than {block} whole batches"
    elif block > 1 and settings.epochs == 1 and not batches.is_whole(2 * block - 1):
        reason = f"its only epoch has fewer than {2 * block} whole batches"
    else:
        reason = reason_of_machine()
    if reason is not None:
        print_line(RECORDED.format(stage=stage, reason=reason))
    return "compiled" if reason is None else "recorded"


def _reason_of_run(step: "OptimizerStep") -> str | None:
    if step.fabric.device.type != "cpu":
        return f"steps are recorded on the CPU, and this is {step.fabric.device.type}"
    if step.fabric.world_size > 1:
        return "several processes share a step"
    if step.state.scaler is not None:
        return "the scale of the loss depends on the gradients"
    if step.options.accumulate > 1:
        return "trainer.accumulate saves memory, which a recording would keep"
    if step.skips:
        return "on_nan skip looks at the gradients of every step"
    return None


def reason_of_module(module: StageModule, optimizer: Optimizer, *, trust: bool = False) -> str | None:
    """Return why the steps of a module cannot be recorded; ``None`` if nothing speaks against it.

    Args:
        module: The module to train.
        optimizer: Its optimizer.
        trust: Whether parts of the user's own are known to compute from the batch, the weights and ``self.noise``
            alone. Anything else that they do in Python happens once, in the recording.

    Example:
        >>> from aepretrain import Dense, PlainAutoencoder
        >>> layer = PlainAutoencoder((6,), Dense(4))
        >>> reason_of_module(layer, torch.optim.RMSprop(layer.parameters()))
        'the optimizer RMSprop is not fused'
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        return f"the optimizer {type(optimizer).__name__} is not fused"
    if any(isinstance(group["lr"], Tensor) for group in optimizer.param_groups):
        return "the learning rate is a tensor"
    if not type(optimizer).__module__.startswith("torch."):
        return f"the optimizer {type(optimizer).__name__} is not torch's"
    if has_hooks(optimizer):
        return f"the optimizer {type(optimizer).__name__} has hooks"
    for name, parameter in module.named_parameters():
        if has_hooks(parameter):
            return f"the gradient of {name} has hooks"
    for each in module.modules():
        if has_hooks(each):
            return f"a {type(each).__name__} has hooks"
        if (method := _replaced_method(each)) is not None:
            return f"the {method} of a {type(each).__name__} was replaced"
        if not trust and (part := _part_of_user(each)) is not None:
            return (
                f"{type(part).__name__} is a class of your own. If it computes from the batch, the weights and "
                "self.noise alone, set trainer.steps to recorded"
            )
    return None


def _replaced_method(module: Any) -> str | None:
    """The name of a method that this module has for itself, beside that of its class; torchmetrics does so to count."""
    if isinstance(module, Metric):
        return None
    return next((name for name in vars(module) if callable(getattr(type(module), name, None))), None)


def _part_of_user(module: Any) -> Any:
    parts = [part for part in vars(module).values() if isinstance(part, Corruption | Likelihood | SparsityPenalty)]
    return next((part for part in (module, *parts) if type(part).__module__.split(".")[0] not in TRUSTED), None)
