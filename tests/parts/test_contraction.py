from collections import OrderedDict

import pytest
import torch
from torch import nn

from aepretrain import Conv, Dense
from aepretrain.parts.activations import ACTIVATIONS
from aepretrain.parts.contraction import code_and_contraction, contraction
from aepretrain.parts.noise import Noise
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


CONVOLUTIONS = {
    "padded": (Conv(3, stride=1), (2, 5, 4)),
    "rest": (Conv(3, kernel_size=4, stride=3, activation="tanh"), (2, 6, 9)),
    "series": (Conv(4, kernel_size=3, padding=0, activation="softplus"), (3, 8)),
    "row": (Conv(4, activation="relu"), (9,)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_closed_form_of_a_convolution_is_the_norm_of_the_autograd_jacobian(name, monkeypatch):
    coder, in_shape = CONVOLUTIONS[name]
    f, x = coder.build(in_shape).encoder.double(), torch.randn(4, *in_shape, dtype=torch.float64)
    monkeypatch.setattr("aepretrain.parts.contraction._contraction_by_jacobian", None)  # not called
    torch.testing.assert_close(contraction(f, x), jacobian_norm(f, x))


def test_a_convolution_that_mirrors_its_border_has_no_closed_form():
    maps = nn.Conv1d(1, 2, 3, padding=1, padding_mode="reflect")
    f, x = named(body=nn.Sequential(), affine=maps, activation=nn.Tanh()).double(), torch.randn(3, 1, 5).double()
    torch.testing.assert_close(contraction(f, x), jacobian_norm(f, x))
