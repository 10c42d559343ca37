"""Schedulers that have to be as long as their stage."""

from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from aepretrain.errors import ConfigError


def check_schedule(stage: str, scheduler: LRScheduler | None, steps: float) -> None:
    """Raise a ConfigError if a scheduler ends before its stage, which may take so many optimizer steps."""
    if isinstance(scheduler, OneCycleLR) and scheduler.total_steps < steps:
        raise ConfigError(
            f"{stage}: OneCycleLR ends after {scheduler.total_steps} steps, but the stage may take {steps:.0f}. Set "
            f"its total_steps to {steps:.0f}."
        )
