import math
from types import SimpleNamespace

import pytest
import torch

from aepretrain import (
    DenoisingAutoencoder,
    Dense,
    Digits,
    GreedyStack,
    Masking,
    PlainAutoencoder,
    Pretraining,
    RunContext,
)
from aepretrain.layers.diagnostics import CodeStatistics, identity_score


def test_code_statistics_over_batches_are_those_of_a_plain_loop():
    h = torch.randn(50, 7).relu()
    h[:, 3] = 0
    statistics = CodeStatistics((7,), prior=True)
    for batch in h.split(16):
        statistics.update(batch)
    found = statistics.compute()
    assert found["active_share"].item() == pytest.approx(sum(v > 0.01 for row in h.tolist() for v in row) / 350)
    assert found["mean_abs_code"].item() == pytest.approx(h.mean().item(), rel=1e-5)
    assert found["dead_units"].item() == 1
    assert found["informative_units"].item() == (h.var(dim=0, correction=0) > 0.01).sum().item()


@pytest.mark.parametrize("batch", [3, 64, 1000])
def test_the_variance_of_codes_far_from_zero_is_not_lost_to_rounding(batch):
    h = 1000 + 0.2 * torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))
    statistics = CodeStatistics((64,))
    for part in h.split(batch):
        statistics.update(part)
    torch.testing.assert_close(
        statistics.moments().variance, h.double().var(dim=0, correction=0).float(), rtol=1e-3, atol=0
    )
    assert statistics.compute()["informative_units"].item() == 64


def test_informative_units_are_judged_by_the_scale_of_the_code():
    h = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    h[:, :4] *= 0.01  # varies by a hundredth of the others
    for scale in (1e-3, 1.0, 1e3):
        statistics = CodeStatistics((10,))
        statistics.update(scale * h)
        assert statistics.compute()["informative_units"].item() == 6
    bounded = CodeStatistics((2,), (0.0, 1.0))
    bounded.update(torch.stack([torch.linspace(0.5, 0.52, 100), torch.linspace(0.3, 0.7, 100)], dim=1))
    assert bounded.compute()["informative_units"].item() == 1


def test_units_at_the_ends_of_a_bounded_range_are_saturated():
    h = torch.stack([torch.tensor([0.0, 1.0] * 50), torch.linspace(0, 1, 100), torch.full((100,), 0.999)], dim=1)
    statistics = CodeStatistics((3,), (0.0, 1.0))
    statistics.update(h)
    assert statistics.compute()["saturated_units"].item() == 2
    half_bounded = CodeStatistics((3,), (0.0, math.inf))
    half_bounded.update(h)
    assert "saturated_units" not in half_bounded.compute()


def test_the_identity_score_of_constant_data_is_not_defined_whatever_the_rounding():
    for value in (0.0, 0.1, 1000.1, 1e-20):
        x = torch.full((50, 3), value) * (1 + 1e-7 * torch.rand(50, 3))
        assert math.isnan(identity_score(SimpleNamespace(reconstruct=lambda n: n + 0.01), x))


def test_the_identity_map_scores_one_and_the_mean_scores_zero():
    x = torch.rand(100, 5)
    assert identity_score(SimpleNamespace(reconstruct=lambda n: n), x) == pytest.approx(1)
    assert identity_score(SimpleNamespace(reconstruct=lambda n: n.mean(dim=0).expand_as(n)), x) == pytest.approx(0)


def test_the_noise_keeps_each_feature_and_destroys_what_ties_them_together():
    t = torch.linspace(0, 1, 1000).unsqueeze(1)
    seen = []
    identity_score(SimpleNamespace(reconstruct=lambda n: seen.append(n) or n), torch.cat([t, t], dim=1))
    noise = seen[0]
    torch.testing.assert_close(noise.sort(dim=0).values, torch.cat([t, t], dim=1))
    assert torch.corrcoef(noise.T)[0, 1].abs() < 0.2


def test_an_overcomplete_plain_autoencoder_scores_as_identity_and_a_denoising_one_does_not():
    def score(make):
        torch.manual_seed(0)
        stack = GreedyStack(Digits.in_shape, [make])
        stack.fit(Digits(), Pretraining(epochs=60, batch_size=64), RunContext(progress=False))
        return stack.identity_scores[0]

    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.003)  # noqa: E731
    plain = score(lambda shape: PlainAutoencoder(shape, Dense(256, "relu"), optimizer=adam))
    denoising = score(
        lambda shape: DenoisingAutoencoder(shape, Dense(256, "relu"), corruption=Masking(0.5), optimizer=adam)
    )
    assert plain > 0.9
    assert denoising < 0.6
