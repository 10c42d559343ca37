"""Validation: means over all examples, in evaluation mode, with the same noise every time."""

import pytest
import torch
from torch import nn

from aepretrain.data import Batches
from aepretrain.layers.base import StageModule
from aepretrain.training.devices import build_fabric
from aepretrain.training.noise import KeyedNoise
from aepretrain.training.options import TrainerOptions
from aepretrain.training.validation import validate


class Measures(StageModule):
    """Measures the examples, their number, and noise; remembers how it was asked."""

    monitor = "val/x"

    def __init__(self, dtype=torch.float32):
        super().__init__(torch.optim.Adam, None)
        self.weight, self.dtype_of_values = nn.Parameter(torch.ones(1)), dtype
        self.asked, self.drawn = [], []

    def loss(self, *batch):
        return batch[0][:, 0] * self.weight

    def validation_values(self, *batch):
        x = self.loss(*batch)
        self.asked.append((self.training, x.requires_grad, torch.is_autocast_enabled("cpu"), len(x)))
        self.drawn.append(self.noise.normal_like(x))
        return {"x": x.to(self.dtype_of_values), "square": x.square()}

    def validation_totals(self):
        return {"batches": torch.tensor(float(len(self.asked)))}


def measured(module, x, precision="32-true", epoch=0):
    fabric = build_fabric(**TrainerOptions(accelerator="cpu", precision=precision).for_fabric())
    noise = KeyedNoise(0, "00-x", torch.device("cpu"), 0)
    with noise.attached_to(module):
        noise.key(epoch, 3)
        return validate(module, Batches([x], 5, shuffle=False), noise, fabric)


def test_figures_are_means_over_all_examples_and_totals_stand_beside_them():
    module, x = Measures().train(), torch.rand(11, 1)
    found = measured(module, x)
    assert list(found) == ["val/x", "val/square", "val/batches"]
    torch.testing.assert_close(found["val/x"], x.mean())
    torch.testing.assert_close(found["val/square"], x.square().mean())
    assert found["val/batches"] == 3
    assert [count for *_, count in module.asked] == [4, 4, 3]


def test_a_module_is_measured_in_evaluation_mode_without_gradients_and_trains_on():
    module = Measures().train()
    measured(module, torch.rand(11, 1))
    assert {asked[:3] for asked in module.asked} == {(False, False, False)}
    assert module.training
    measured(module, torch.rand(11, 1), "bf16-mixed")
    assert {asked[2] for asked in module.asked[3:]} == {True}


def test_every_validation_draws_the_same_noise_whatever_was_drawn_before():
    first, second = Measures(), Measures()
    measured(first, torch.rand(11, 1), epoch=0)
    measured(second, torch.rand(11, 1), epoch=7)
    assert all(torch.equal(*drawn) for drawn in zip(first.drawn, second.drawn, strict=True))
    assert not torch.equal(first.drawn[0], first.drawn[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_values_of_half_types_are_added_in_float32(dtype):
    x = torch.full((2000, 1), 100.0)
    found = measured(Measures(dtype), x)["val/x"]
    assert found.item() == 100.0
    assert found.dtype in (torch.float32, torch.float64)
