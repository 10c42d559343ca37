import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR, StepLR

from aepretrain import Schedules


def rates(schedule, epochs=9):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, found = schedule(optimizer), []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


PARTS = [
    lambda optimizer: LinearLR(optimizer, start_factor=0.25, total_iters=3),
    lambda optimizer: ConstantLR(optimizer, factor=0.5, total_iters=100),
    lambda optimizer: StepLR(optimizer, step_size=1, gamma=0.1),
]


def test_schedules_follow_one_another_at_their_milestones_as_those_of_torch_do():
    found = rates(lambda optimizer: Schedules(optimizer, PARTS, milestones=(3, 6)))
    assert found == rates(lambda optimizer: SequentialLR(optimizer, [make(optimizer) for make in PARTS], [3, 6]))
    assert found[:3] == pytest.approx([0.25, 0.5, 0.75])
    assert found[3:6] == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize("milestones", [[], [3], [3, 6, 7]])
def test_every_schedule_but_the_first_needs_a_milestone(milestones):
    message = f"milestones must be one less than schedules, but there are {len(milestones)} for 3"
    with pytest.raises(ValueError, match=message):
        rates(lambda optimizer: Schedules(optimizer, PARTS, milestones=milestones))
