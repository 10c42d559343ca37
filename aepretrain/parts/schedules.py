"""Learning-rate schedules composed of other schedules."""

from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, SequentialLR

ScheduleFactory = Callable[[Optimizer], LRScheduler]
"""A callable that makes a schedule from an optimizer."""
STEPWISE = (CyclicLR, OneCycleLR)
"""Schedules that step after every update; all others do after every epoch."""


class Schedules(SequentialLR):
    """A sequence of schedules, such as a warm-up followed by a cosine; torch's ``SequentialLR`` for configs.

    Args:
        optimizer: The optimizer whose learning rate is scheduled.
        schedules: Factories of the schedules, in order.
        milestones: Epochs at which the second, third, ... schedule begins.

    Raises:
        ValueError: If the number of milestones is not one less than the number of schedules, or one is stepwise.

    Example:
        >>> import torch
        >>> from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> warm_up = lambda optimizer: LinearLR(optimizer, start_factor=0.5, total_iters=2)
        >>> cosine = lambda optimizer: CosineAnnealingLR(optimizer, T_max=8)
        >>> Schedules(optimizer, [warm_up, cosine], milestones=[2]).get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, schedules: Sequence[ScheduleFactory], milestones: Sequence[int]) -> None:
        if len(milestones) != len(schedules) - 1:
            raise ValueError(
                f"milestones must be one less than schedules, but there are {len(milestones)} for {len(schedules)}. "
                "Each says at which epoch the next schedule begins."
            )
        made = [make(optimizer) for make in schedules]
        if stepwise := [type(each).__name__ for each in made if isinstance(each, STEPWISE)]:
            raise ValueError(
                f"schedules must step after every epoch, but {stepwise[0]} does after every update. Use it alone, or "
                "take LinearLR and CosineAnnealingLR."
            )
        super().__init__(optimizer, made, list(milestones))
