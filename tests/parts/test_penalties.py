import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from aepretrain import L1, Dense, KLSparsity
from aepretrain.parts.coders import ACTIVATIONS
from aepretrain.parts.noise import Noise
from aepretrain.parts.penalties import (
    code_and_contraction,
    contraction,
    kl_sparsity,
    l1,
)
from tests.support.gradients import check_gradients


def jacobian_norm(f, x):
    """The squared Frobenius norm by a plain loop over examples and units, with reverse-mode autograd."""
    norms = []
    for example in x:
        example = example.clone().requires_grad_()
        h = f(example.unsqueeze(0)).flatten()
        rows = [torch.autograd.grad(unit, example, retain_graph=True)[0] for unit in h]
        norms.append(sum((row**2).sum() for row in rows))
    return torch.stack(norms)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_contraction_of_one_dense_layer_is_the_norm_of_the_autograd_jacobian(activation):
    f = Dense(4, activation).build((2, 3)).encoder
    f, x = f.double(), torch.randn(5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(contraction(f, x), jacobian_norm(f, x))


@pytest.mark.parametrize("features", [3, 9])
def test_contraction_of_any_other_encoder_is_the_norm_of_the_autograd_jacobian(features):
    f = Dense(features, "tanh", hidden=(5,)).build((6,)).encoder
    f, x = f.double(), torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(contraction(f, x), jacobian_norm(f, x))


class Doubled(nn.Module):
    """Named parts in another order than that of an encoder."""

    def __init__(self, in_features, out_features):
        super().__init__()
        self.body, self.affine, self.activation = nn.Identity(), nn.Linear(in_features, out_features), nn.Tanh()

    def forward(self, x):
        return self.affine(self.activation(self.body(x))) * 2


def named(**parts):
    return nn.Sequential(OrderedDict(parts))


@pytest.mark.parametrize(
    ("f", "in_shape"),
    [
        (named(body=nn.Sequential(), affine=nn.Linear(6, 4), activation=nn.Softmax(dim=1)), (6,)),
        (named(body=nn.Sequential(), affine=nn.Linear(3, 4), activation=nn.Tanh()), (2, 3)),
        (named(body=nn.Sequential(nn.Tanh()), affine=nn.Linear(6, 4), activation=nn.Tanh()), (6,)),
        (named(first=nn.Sequential(), affine=nn.Linear(6, 4), activation=nn.Softmax(dim=1)), (6,)),
        (Doubled(6, 4), (6,)),
    ],
    ids=["softmax", "two-axes", "body", "other-names", "other-order"],
)
def test_the_closed_form_is_for_a_dense_layer_alone(f, in_shape):
    f, x = f.double(), torch.randn(5, *in_shape, dtype=torch.float64)
    torch.testing.assert_close(contraction(f, x), jacobian_norm(f, x))


@pytest.mark.parametrize("projections", [1, 4])
def test_random_projections_are_the_mean_squared_derivative_along_the_drawn_signs(projections):
    """Signs are fair coins (see test_noise.py), so that the mean of this over all draws is the contraction."""
    f = Dense(5, "tanh", hidden=(4,)).build((6,)).encoder
    f, x = f.double(), torch.randn(3, 6, dtype=torch.float64)
    found = contraction(f, x, projections=projections, noise=Noise(torch.Generator().manual_seed(0)))
    torch.testing.assert_close(found, projected(f, x, projections, Noise(torch.Generator().manual_seed(0))))


def projected(f, x, projections, noise):
    """The mean of the squared norms of ``J v`` over the directions v of the noise, from the whole Jacobians."""
    J = [
        torch.autograd.functional.jacobian(lambda row: f(row.unsqueeze(0))[0], row).reshape(-1, row.numel())
        for row in x
    ]
    directions = [noise.signs_like(x).flatten(1) for _ in range(projections)]
    norms = [torch.stack([(j @ row).square().sum() for j, row in zip(J, v, strict=True)]) for v in directions]
    return torch.stack(norms).mean(dim=0)


def test_projections_are_not_drawn_where_there_is_a_closed_form():
    f = Dense(4).build((6,)).encoder
    x = torch.randn(5, 6)
    torch.testing.assert_close(contraction(f, x, projections=1), contraction(f, x), rtol=0, atol=0)


@pytest.mark.parametrize("examples", [1, 4])
def test_contraction_of_a_linear_map_is_the_norm_of_its_weights(examples):
    for f in (nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 3))):
        weight = next(f.parameters())
        torch.testing.assert_close(contraction(f, torch.rand(examples, 6)), weight.square().sum().expand(examples))


def test_contraction_works_without_gradients_and_in_full_precision_under_autocast():
    f = Dense(4).build((6,)).encoder
    x = torch.randn(5, 6)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = contraction(f, x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, contraction(f, x))


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


@pytest.mark.parametrize(
    ("coder", "projections"),
    [(Dense(4), None), (Dense(4, "tanh", hidden=(5,)), None), (Dense(4, "tanh", hidden=(5,)), 2)],
    ids=["closed", "exact", "projected"],
)
def test_the_gradients_of_code_and_contraction_are_their_slopes(coder, projections):
    f, x = coder.build((6,)).encoder.double(), torch.rand(5, 6, dtype=torch.float64)
    weights, noise = dict(f.named_parameters()), Noise(torch.Generator())

    def call(function):
        noise.manual_seed(3)
        return function(f, x, projections=projections, noise=noise)

    h, squared_norm = call(code_and_contraction)
    assert torch.equal(h, f(x))
    torch.testing.assert_close(squared_norm, call(contraction))
    check_gradients(lambda: call(code_and_contraction)[0].square().sum(), weights)
    check_gradients(lambda: call(code_and_contraction)[1].sum(), weights)
    check_gradients(lambda: call(contraction).sum(), weights)


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
