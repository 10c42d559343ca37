"""Every variant, and the classifier, trains in bfloat16 mixed precision, finite and close to float32."""

import math

import pytest
import torch
from torch import nn

from aepretrain import (
    Arrays,
    Classifier,
    Dense,
    Digits,
    FineTuning,
    GreedyStack,
    Pretraining,
    Regressor,
    RunContext,
    TrainerOptions,
    finetune,
)
from aepretrain.results.records import to_plain
from tests.support.variants import LAYERS, MACHINES, make


@pytest.mark.parametrize("name", LAYERS)
def test_losses_in_bf16_mixed_are_finite_and_close_to_float32(name):
    found = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(0)
        stack = GreedyStack((1, 8, 8), [lambda shape: make(name, in_shape=shape, coder=Dense(24))])
        context = RunContext(progress=False, trainer=TrainerOptions(precision=precision))
        stack.fit(Digits(), Pretraining(epochs=3, batch_size=64), context)
        found.append(to_plain(stack.results()[0].losses))
    for key, value in found[0].items():
        assert math.isfinite(found[1][key])
        if name in MACHINES and key != "reconstruction":
            continue  # differences of two large free energies, of other draws
        assert found[1][key] == pytest.approx(value, rel=0.03), key


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
@pytest.mark.filterwarnings("ignore:.*bfloat16 is supported on CPU")
@pytest.mark.filterwarnings("ignore:.*fp16.*")
@pytest.mark.parametrize("head", ["classifier", "regressor"])
def test_finetuning_in_mixed_precision_is_close_to_float32(precision, head):
    x = torch.rand(300, 64, generator=torch.Generator().manual_seed(0))
    data = Digits() if head == "classifier" else Arrays(x, 500 + 30 * x[:, :5].sum(dim=1))
    found = []
    for name in ("32-true", precision):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Sigmoid()))
        options = TrainerOptions(precision=name)
        model = Classifier(encoder, 10) if head == "classifier" else Regressor(encoder)
        tuned = finetune(model, data, FineTuning(3), RunContext(progress=False, trainer=options))
        found.append(tuned.record.metrics)
    assert found[1]["val/loss"] == pytest.approx(found[0]["val/loss"], rel=0.03)
    assert found[1]["train/loss"] == pytest.approx(found[0]["train/loss"], rel=0.03)
