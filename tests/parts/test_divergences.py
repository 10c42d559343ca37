import torch
from torch.distributions import Normal, kl_divergence

from aepretrain.parts.divergences import kl_of_draw, kl_per_unit, kl_to_standard_normal, kl_with_free_bits
from tests.support.gradients import check_gradients

PRIOR = Normal(0.0, 1.0)


def posterior(*shape):
    mean, log_var = torch.randn(2, *shape, dtype=torch.float64)
    return mean, log_var, Normal(mean, (0.5 * log_var).exp())


def test_kl_to_standard_normal_is_that_of_torch_distributions():
    mean, log_var, q = posterior(5, 3)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_var), kl_divergence(q, PRIOR).sum(dim=1))


def test_the_kl_of_the_units_adds_up():
    mean, log_var, _ = posterior(5, 2, 3)
    torch.testing.assert_close(kl_per_unit(mean, log_var).sum(dim=1), kl_to_standard_normal(mean, log_var))
    assert kl_per_unit(mean, log_var).shape == (5, 6)


def test_the_log_ratio_at_a_draw_is_that_of_torch_distributions():
    mean, log_var, q = posterior(5, 2, 3)
    epsilon = torch.randn_like(mean)
    z = mean + (0.5 * log_var).exp() * epsilon
    expected = (q.log_prob(z) - PRIOR.log_prob(z)).flatten(1).sum(dim=1)
    torch.testing.assert_close(kl_of_draw(epsilon, z, log_var), expected)


def test_free_bits_raise_the_mean_kl_of_every_unit_to_the_least():
    mean, log_var, q = posterior(8, 4)
    units = [float(unit.mean()) for unit in kl_divergence(q, PRIOR).unbind(dim=1)]
    for least in (0.0, sum(units) / 4, 100.0):
        expected = sum(max(least, kl) for kl in units)
        torch.testing.assert_close(kl_with_free_bits(mean, log_var, least).item(), expected)


def test_the_gradients_of_the_divergences_are_their_slopes():
    mean, log_var, _ = posterior(5, 4)
    w, codes = (
        torch.rand(5, 4, dtype=torch.float64),
        {"mean": mean.requires_grad_(), "log_var": log_var.requires_grad_()},
    )
    check_gradients(lambda: (w[:, 0] * kl_to_standard_normal(mean, log_var)).sum(), codes)
    check_gradients(lambda: (w * kl_per_unit(mean, log_var)).sum(), codes)
    check_gradients(lambda: kl_with_free_bits(mean, log_var, 0.1), codes)
    check_gradients(lambda: (w[:, 0] * kl_of_draw(w, mean + (0.5 * log_var).exp() * w, log_var)).sum(), codes)


def test_divergences_are_never_in_half_precision():
    h = torch.rand(5, 3).bfloat16()
    for found in (kl_per_unit(h, h), kl_to_standard_normal(h, h), kl_with_free_bits(h, h, 0.1), kl_of_draw(h, h, h)):
        assert found.dtype == torch.float32
