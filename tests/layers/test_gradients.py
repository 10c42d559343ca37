"""What every energy teaches: its gradients are the slopes of its values, so no term is cut off from them."""

import pytest
import torch
from torch import nn

from aepretrain import (
    Bernoulli,
    Categorical,
    Classifier,
    ContractiveAutoencoder,
    Conv,
    Dense,
    Gaussian,
    PlainAutoencoder,
    Regressor,
)
from aepretrain.parts.activations import ACTIVATIONS
from aepretrain.parts.noise import Noise
from tests.support.gradients import check_gradients
from tests.support.variants import CODERS, VARIANTS, make


def check(model, *batch, shift=0.3):
    """Check a module's loss, with the same noise at every call, at weights that are all away from zero."""
    model.double().noise = Noise(torch.Generator())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += shift * torch.randn_like(parameter)

    def loss():
        model.noise.manual_seed(5)
        return model.mean(model.loss(*batch))

    check_gradients(loss, dict(model.named_parameters()))


MINIMIZED = [name for name in VARIANTS if name != "adversarial"]
"""Variants with one loss for all weights; for the other see test_adversarial.py."""
# KLSparsity needs codes in [0, 1].
PAIRS = [(name, coder) for name in MINIMIZED for coder in CODERS if name != "sparse-kl" or coder == "dense"]


@pytest.mark.parametrize(("name", "coder"), PAIRS)
def test_the_gradient_of_an_energy_is_the_slope_of_its_values(name, coder):
    check(make(name, coder=CODERS[coder]), torch.rand(5, 6, dtype=torch.float64))


@pytest.mark.parametrize("name", MINIMIZED)
def test_convolutions_are_taught_the_slope_too(name):
    check(make(name, (1, 4, 4), Conv(2, hidden=(3,), tied=True)), torch.rand(3, 1, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_closed_form_of_the_contraction_teaches_its_slope_for_every_activation(activation):
    model = ContractiveAutoencoder((6,), Dense(4, activation), lam=1.0)
    check(model, torch.rand(5, 6, dtype=torch.float64))


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical((2, 4))], ids=lambda v: type(v).__name__)
def test_the_gradient_of_a_likelihood_is_its_slope(likelihood):
    x = torch.eye(6, dtype=torch.float64)[[0, 3, 1]] + torch.eye(6, dtype=torch.float64)[[4, 1, 2]]
    check(PlainAutoencoder((6,), Dense(4), likelihood=likelihood), x.clamp(max=1))


@pytest.mark.parametrize(
    ("head", "y"),
    [
        (lambda f: Classifier(f, 3), [0, 2, 1, 1, 0]),
        (lambda f: Classifier(f, 3, label_smoothing=0.2, class_weights=[1.0, 2.0, 0.5]), [0, 2, 1, 1, 0]),
        (lambda f: Classifier(f, 3, dropout=0.4, input_dropout=0.3), [0, 2, 1, 1, 0]),
        (lambda f: Regressor(f, 2), [[0.1, 2.0], [1.0, -1.0], [0.5, 0.5], [3.0, 1.0], [0.0, 0.0]]),
    ],
    ids=["plain", "weighted", "dropout", "regression"],
)
def test_the_gradient_of_a_head_is_the_slope_of_its_loss(head, y):
    encoder = nn.Sequential(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), nn.Sequential(nn.Linear(4, 3), nn.Tanh()))
    y = torch.tensor(y)
    check(head(encoder).train(), torch.rand(5, 6, dtype=torch.float64), y.double() if y.is_floating_point() else y)
