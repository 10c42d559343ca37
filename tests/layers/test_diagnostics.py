import math
from types import SimpleNamespace

import pytest
import torch

from aepretrain import (
    Bernoulli,
    Categorical,
    DenoisingAutoencoder,
    Dense,
    Digits,
    Gaussian,
    GreedyStack,
    Masking,
    PlainAutoencoder,
    Pretraining,
    RunContext,
)
from aepretrain.layers.diagnostics import CodeStatistics, diagnose, identity_score, mean_reconstruction


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
    h = torch.randn(1000, 20, generator=torch.Generator().manual_seed(0))
    h[:, :4] *= 0.2  # far above a hundredth of the mean variance, and below a hundredth of the sum
    many = CodeStatistics((20,))
    many.update(h)
    assert many.compute()["informative_units"].item() == 20
    bounded = CodeStatistics((2,), (0.0, 1.0))
    bounded.update(torch.stack([torch.linspace(0.5, 0.52, 100), torch.linspace(0.3, 0.7, 100)], dim=1))
    assert bounded.compute()["informative_units"].item() == 1


def test_units_at_the_ends_of_a_bounded_range_are_saturated():
    h = torch.stack([torch.tensor([0.0, 1.0] * 50), torch.linspace(0, 1, 100), torch.full((100,), 0.999)], dim=1)
    statistics = CodeStatistics((3,), (0.0, 1.0))
    statistics.update(h)
    assert statistics.compute()["saturated_units"].item() == 2
    for half_bounded in ((0.0, math.inf), (-math.inf, 0.0)):
        statistics = CodeStatistics((3,), half_bounded)
        statistics.update(h)
        assert "saturated_units" not in statistics.compute()


def test_a_value_is_at_an_end_if_it_is_nearer_than_one_percent_of_the_range():
    statistics = CodeStatistics((4,), (0.0, 100.0))
    statistics.update(torch.tensor([[0.75, 1.0, 99.0, 99.25]]))
    assert statistics.extremes.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("code_range", [(0.0, 1.0), (-1.0, 1.0), (2.0, 6.0)])
def test_statistics_of_a_bounded_code_are_those_of_a_plain_loop(code_range):
    low, high = code_range
    generator = torch.Generator().manual_seed(0)
    h = low + (high - low) * torch.rand(400, 2, 10, generator=generator)
    h[:, 0, 0], h[:, 0, 1] = low, high
    h[:, 0, 2] = low + (high - low) * torch.tensor([0.005, 0.995]).repeat(200)
    h[:, 0, 3] = low + (high - low) * torch.tensor([0.015, 0.985]).repeat(200)
    h[:, 0, 4], h[:5, 0, 4] = low, (low + high) / 2  # 98.75 % at the end
    h[:, 0, 5], h[:4, 0, 5] = low, (low + high) / 2  # 99 %
    h[:, 0, 6] = (low + high) / 2 + (high - low) * 0.0289 * torch.tensor([1.0, -1.0]).repeat(200)
    h[:, 0, 7] = (low + high) / 2 + (high - low) * 0.0288 * torch.tensor([1.0, -1.0]).repeat(200)
    statistics = CodeStatistics((2, 10), code_range)
    for batch in h.split(64):
        statistics.update(batch)
    found = {name: value.item() for name, value in statistics.compute().items()}
    units = h.flatten(1).double().T
    margin, least = 0.01 * (high - low), 0.01 * (high - low) ** 2 / 12
    at_an_end = [sum(v < low + margin or v > high - margin for v in unit.tolist()) / 400 for unit in units]
    assert found["saturated_units"] == sum(share >= 0.99 for share in at_an_end) == 4
    assert found["informative_units"] == sum(unit.var(correction=0).item() > least for unit in units)
    assert found["dead_units"] == sum((unit.abs() <= 0.01).all().item() for unit in units) == (low == 0)
    assert found["active_share"] == pytest.approx((units.abs() > 0.01).double().mean().item())
    assert found["mean_abs_code"] == pytest.approx(units.abs().mean().item(), rel=1e-5)


def test_a_unit_is_active_above_one_hundredth():
    statistics = CodeStatistics((3,))
    statistics.update(torch.tensor([[0.0099, -0.0101, 0.0], [0.0, 0.0, 0.01]], dtype=torch.float32))
    assert statistics.compute()["dead_units"].item() == 2
    assert statistics.compute()["active_share"].item() == pytest.approx(1 / 6)


def test_a_prior_of_unit_variance_is_the_least_scale_of_a_code():
    h = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    for scale, informative in ((0.05, 0), (0.12, 10), (3.0, 10)):
        with_prior, without = CodeStatistics((10,), prior=True), CodeStatistics((10,))
        for statistics in (with_prior, without):
            statistics.update(scale * h)
        assert with_prior.compute()["informative_units"].item() == informative
        assert without.compute()["informative_units"].item() == 10


def test_constant_units_far_from_zero_vary_by_rounding_alone():
    statistics = CodeStatistics((2,))
    h = torch.stack([torch.full((100,), 1000.0), torch.full((100,), -1000.0)], dim=1)
    h[::2] += 2**-14 * torch.tensor([1.0, -1.0])
    statistics.update(h)
    assert (statistics.moments().variance > 0).all()
    assert statistics.compute()["informative_units"].item() == 0


@pytest.mark.parametrize("std", [0.0, 0.5e-6, 1.5e-6])
def test_what_varies_by_a_millionth_of_its_mean_is_rounding_and_more_is_not(std):
    x = 1 + std * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(50).unsqueeze(1)
    statistics = CodeStatistics((1,))
    statistics.update(x)
    assert statistics.compute()["informative_units"].item() == (std > 1e-6)
    score = identity_score(SimpleNamespace(reconstruct=lambda n: n), x)
    assert math.isnan(score) if std < 1e-6 else score == 1


def test_a_code_of_zeros_has_no_informative_unit():
    statistics = CodeStatistics((3,))
    statistics.update(torch.zeros(10, 3))
    found = statistics.compute()
    assert (found["informative_units"].item(), found["dead_units"].item()) == (0, 3)


def test_one_feature_that_varies_is_enough_for_an_identity_score():
    x = torch.cat([torch.rand(50, 1), torch.ones(50, 2)], dim=1)
    assert identity_score(SimpleNamespace(reconstruct=lambda n: n), x) == 1


def test_statistics_are_floats_without_a_graph_and_count_beyond_what_float32_counts():
    statistics = CodeStatistics((2,), (0.0, 1.0))
    statistics.update(torch.ones(1, 2, requires_grad=True))
    assert not statistics.magnitudes.requires_grad
    assert {value.dtype for value in statistics.compute().values()} == {torch.float32}
    for name in ("count", "activations", "extremes"):
        getattr(statistics, name).fill_(2**24)
    statistics.update(torch.ones(1, 2))
    counts = [statistics.count, *statistics.activations, *statistics.extremes]
    assert [count.item() for count in counts] == [2**24 + 1] * 5


@pytest.mark.parametrize("code_range", [(0.0, 1.0), (-math.inf, math.inf)])
def test_the_statistics_of_several_processes_are_those_of_all_codes(code_range):
    parts = torch.rand(3, 40, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(5.0) / 4
    parts[1] = 1 - parts[1]

    def gather(value, group):
        (name,) = [name for name in each[0].metric_state if getattr(each[0], name) is value]
        return [getattr(statistics, name) for statistics in each]

    asked = {"dist_sync_fn": gather, "distributed_available_fn": lambda: True}
    each, whole = [CodeStatistics((5,), code_range, **asked) for _ in parts], CodeStatistics((5,), code_range)
    for statistics, part in zip(each, parts, strict=True):
        statistics.update(part)
    whole.update(parts.flatten(0, 1))
    torch.testing.assert_close(each[0].compute(), whole.compute())
    with each[0].sync_context(dist_sync_fn=gather):
        torch.testing.assert_close(each[0].moments().variance, parts.flatten(0, 1).var(dim=0, correction=0))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0, 1.7])
def test_the_identity_score_is_the_explained_share_of_the_variance_of_the_noise(share):
    x, noise = torch.rand(100, 5, generator=torch.Generator().manual_seed(0)), []

    def reconstruct(n):
        noise.append(n)
        return share * n + (1 - share) * n.mean(dim=0)

    found = identity_score(SimpleNamespace(reconstruct=reconstruct), x, torch.Generator().manual_seed(3))
    assert found == pytest.approx(1 - (1 - share) ** 2, abs=1e-5)
    again = []
    identity_score(SimpleNamespace(reconstruct=lambda n: again.append(n) or n), x, torch.Generator().manual_seed(3))
    assert torch.equal(noise[0], again[0])
    assert torch.equal(noise[0].sort(dim=0).values, x.sort(dim=0).values)


def test_what_is_measured_once_is_what_the_layer_measures():
    x = torch.rand(50, 3)
    layer = SimpleNamespace(
        reconstruct=lambda n: n,
        mean_reconstruction=lambda x: 2.5,
        unit_diagnostics=lambda x: {"kl": torch.tensor([0.05, 0.1, 0.125, 3.0, 4.0], dtype=torch.float64)},
        closing_figures=lambda x, noise: {},
    )
    found = diagnose(layer, x)
    assert found.scalars == {"identity_score": 1.0, "mean_reconstruction": 2.5, "used_units": 3.0}
    assert found.units == {"kl": (0.05, 0.1, 0.125, 3.0, 4.0)}
    assert (found.used_units, found.identity_text) == (3, "1.00")
    layer.mean_reconstruction, layer.unit_diagnostics = lambda x: None, lambda x: {}
    found = diagnose(layer, torch.ones(50, 3))
    assert list(found.scalars) == ["identity_score"]
    assert (found.units, found.used_units, found.identity_text) == ({}, None, "not defined")


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical((2, 3))], ids=lambda v: type(v).__name__)
def test_the_loss_of_the_mean_is_that_of_no_better_constant_answer(likelihood):
    choices = torch.randint(0, 6, (200,), generator=torch.Generator().manual_seed(0))
    x = torch.cat([torch.eye(2)[choices % 2], torch.eye(3)[choices // 2]], dim=1)
    found = mean_reconstruction(likelihood, x)
    y = torch.zeros(1, 5, requires_grad=True)
    optimizer = torch.optim.LBFGS([y], max_iter=100)

    def loss():
        optimizer.zero_grad()
        value = likelihood(x, y.expand_as(x)).mean()
        value.backward()
        return value

    optimizer.step(loss)
    assert found == pytest.approx(loss().item(), rel=1e-5)


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
