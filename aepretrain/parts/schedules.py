"""Learning-rate schedules that are made of others."""

from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

ScheduleFactory = Callable[[Optimizer], LRScheduler]
"""A schedule with all but its optimizer given."""


class Schedules(SequentialLR):
    """One schedule after another, such as a warm-up and then a cosine; torch's ``SequentialLR`` for configs.

    Args:
        optimizer: The optimizer whose learning rate is scheduled.
        schedules: Make the schedules, in their order.
        milestones: The epochs at which the second, the third, ... schedule begins.

    Raises:
        ValueError: If there is not one milestone less than schedules.

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
        super().__init__(optimizer, [make(optimizer) for make in schedules], list(milestones))
