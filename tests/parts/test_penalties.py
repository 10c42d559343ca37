import math

import pytest
import torch

from aepretrain import L1, KLSparsity
from aepretrain.parts.penalties import (
    kl_sparsity,
    l1,
)
from tests.support.gradients import check_gradients


def test_kl_sparsity_is_that_of_torch_distributions_on_the_mean_activity():
    h = torch.rand(8, 3, dtype=torch.float64)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(torch.full((3,), 0.05, dtype=torch.float64)),
        torch.distributions.Bernoulli(h.mean(dim=0)),
    ).sum()
    torch.testing.assert_close(kl_sparsity(h, 0.05), expected, rtol=1e-4, atol=0)


def test_kl_sparsity_is_finite_in_half_precision_and_for_dead_and_saturated_units():
    h = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).bfloat16()
    assert math.isfinite(kl_sparsity(h, 0.05).item())


def test_kl_sparsity_revives_a_dead_unit():
    h = torch.zeros(8, 3, requires_grad=True)
    kl_sparsity(h, 0.05).backward()
    assert (h.grad < 0).all()


def test_l1_is_the_sum_of_absolute_values():
    h = torch.randn(4, 2, 3)
    torch.testing.assert_close(l1(h), torch.stack([sum(abs(v) for v in row.flatten()) for row in h]))


@pytest.mark.parametrize("rho", [0.0, 1.0, -1])
def test_a_target_activity_outside_its_range_is_refused(rho):
    with pytest.raises(ValueError, match=f"but got {rho}"):
        KLSparsity(rho)


def test_kl_sparsity_is_refused_on_codes_that_are_no_probabilities():
    with pytest.raises(ValueError, match="codes in"):
        KLSparsity(0.1).check((0.0, math.inf))


def test_the_gradients_of_the_other_penalties_are_their_slopes():
    h, w = torch.rand(2, 5, 4, dtype=torch.float64)
    h = (0.1 + 0.8 * h).requires_grad_()
    check_gradients(lambda: (w[:, 0] * l1(h)).sum(), {"h": h})
    check_gradients(lambda: kl_sparsity(h, 0.3), {"h": h})
    check_gradients(lambda: (w[:, 0] * L1()(h)).sum() + KLSparsity(0.3)(h), {"h": h})


def test_penalties_are_never_in_half_precision():
    h = torch.rand(5, 3).bfloat16()
    for found in (l1(h), kl_sparsity(h, 0.1)):
        assert found.dtype == torch.float32


def test_the_defaults_and_the_ends_of_the_target_are_those_of_the_documentation():
    assert KLSparsity() == KLSparsity(rho=0.05)
    assert [KLSparsity(rho).rho for rho in (1e-9, 1 - 1e-9)] == [1e-9, 1 - 1e-9]
    KLSparsity().check((0.0, 1.0))
    L1().check((-math.inf, math.inf))
    for code_range in ((-1.0, 1.0), (0.0, 2.0), (0.1, 1.0)):
        with pytest.raises(ValueError, match="KLSparsity needs codes in"):
            KLSparsity().check(code_range)
