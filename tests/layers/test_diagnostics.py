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
    statistics = CodeStatistics((7,))
    for batch in h.split(16):
        statistics.update(batch)
    found = statistics.compute()
    assert found["active_share"].item() == pytest.approx(sum(v > 0.01 for row in h.tolist() for v in row) / 350)
    assert found["mean_abs_code"].item() == pytest.approx(h.mean().item(), rel=1e-5)
    assert found["dead_units"].item() == 1
    assert found["informative_units"].item() == (h.var(dim=0, correction=0) > 0.01).sum().item()


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
