"""Every variant trains in bfloat16 mixed precision, finite and close to float32."""

import math

import pytest
import torch

from aepretrain import Dense, Digits, GreedyStack, Pretraining, RunContext, TrainerOptions

from .autoencoders.variants import VARIANTS, make


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_in_bf16_mixed_are_finite_and_close_to_float32(name):
    found = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        stack = GreedyStack((1, 8, 8), [lambda shape: make(name, in_shape=shape, coder=Dense(24))])
        context = RunContext(progress=False, trainer=TrainerOptions(precision=precision))
        stack.fit(Digits(), Pretraining(epochs=3, batch_size=64), context)
        found.append(stack.results()[0]["losses"])
    for key, value in found[0].items():
        assert math.isfinite(found[1][key])
        assert found[1][key] == pytest.approx(value, rel=0.03), key
