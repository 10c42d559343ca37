import pytest
import torch
from torch import nn

from aepretrain.parts.norms import clip_norms_


@pytest.mark.parametrize("module", [nn.Linear(6, 4), nn.Conv1d(3, 4, 5), nn.Conv2d(3, 4, 2)], ids=str)
def test_weights_into_a_unit_are_scaled_down_where_their_norm_is_above_the_bound(module):
    with torch.no_grad():
        module.weight[0] *= 1e-3
    before, bias = module.weight.detach().clone(), module.bias.detach().clone()
    clip_norms_(module, 0.1)
    for own, old in zip(module.weight.detach(), before, strict=True):
        norm = sum(w**2 for w in old.flatten().tolist()) ** 0.5
        torch.testing.assert_close(own, old * min(1.0, 0.1 / norm), rtol=1e-4, atol=1e-7)
    assert torch.equal(module.weight[0], before[0])
    assert torch.equal(module.bias, bias)


def test_what_is_not_trained_or_has_no_units_stays():
    frozen, norm = nn.Linear(6, 4).requires_grad_(False), nn.BatchNorm1d(4)
    before = frozen.weight.clone()
    clip_norms_(frozen, 0.01)
    clip_norms_(norm, 0.01)
    clip_norms_(nn.Sequential(nn.Identity()), 0.01)
    assert torch.equal(frozen.weight, before)
    assert torch.equal(norm.weight, torch.ones(4))
