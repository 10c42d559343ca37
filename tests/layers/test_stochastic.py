"""Codes of bits that are drawn in training, and draws of inputs given a code."""

import pytest
import torch
from torch import nn

from aepretrain import Bernoulli, Categorical, Dense, Gaussian, GreedyStack, PlainAutoencoder, VariationalAutoencoder
from aepretrain.ensembles.autoencoders import SeedAutoencoders, reason_not_batchable
from aepretrain.ensembles.noise import EnsembleNoise
from aepretrain.parts.activations import BernoulliUnits
from aepretrain.parts.noise import Noise
from tests.support.variants import VARIANTS, make

BITS = Dense(4, stochastic=True)
DRAWN = [name for name in VARIANTS if not name.startswith(("adversarial", "contractive", "variational"))]


def seeded(seed):
    return Noise(torch.Generator().manual_seed(seed))


def test_bits_are_drawn_with_the_probabilities_of_the_sigmoid():
    a = torch.tensor([-2.0, 0.0, 1.0], dtype=torch.float64)
    units = BernoulliUnits()
    units.noise = seeded(0)
    bits = units(a.expand(40_000, 3))
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    sd = (a.sigmoid() * (1 - a.sigmoid())).sqrt()
    assert ((bits.mean(dim=0) - a.sigmoid()).abs() < 5 * sd / 200).all()
    assert torch.equal(units.eval()(a), a.sigmoid())


def test_the_straight_through_estimate_is_the_slope_of_the_sigmoid():
    a = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 3, dtype=torch.float64)
    (weights * BernoulliUnits()(a)).sum().backward()
    torch.testing.assert_close(a.grad, weights * a.sigmoid() * (1 - a.sigmoid()))


def test_the_energy_of_a_stochastic_code_decodes_its_bits():
    model, x = PlainAutoencoder((6,), BITS).double(), torch.rand(5, 6, dtype=torch.float64)
    model.noise = seeded(3)
    p = torch.sigmoid(model.f.affine(x))
    bits = (torch.empty_like(p).uniform_(generator=torch.Generator().manual_seed(3)) < p).double()
    torch.testing.assert_close(model.energy(x), Gaussian()(x, model.g(bits)))
    model.eval()
    assert torch.equal(model.encode(x), p)
    assert torch.equal(model.energy(x), Gaussian()(x, model.g(p)))


@pytest.mark.parametrize("name", DRAWN)
def test_every_variant_draws_its_bits_from_the_noise_of_the_layer(name):
    model, x, before = make(name, coder=BITS), torch.rand(5, 6), torch.get_rng_state()
    energies = []
    for seed in (1, 1, 2):
        model.noise = seeded(seed)
        energies.append(model.energy(x))
    assert torch.equal(energies[0], energies[1])
    assert not torch.equal(energies[0], energies[2])
    assert torch.equal(torch.get_rng_state(), before)
    energies[0].sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())
    assert model.is_regularized()


def test_the_encoder_of_a_stochastic_code_is_plain_torch_and_gives_probabilities():
    model, x = PlainAutoencoder((6,), BITS), torch.rand(5, 6)
    assert [type(module) for module in model.encoder] == [nn.Linear, nn.Sigmoid]
    assert torch.equal(model.encoder.train()(x), model.eval().encode(x))
    assert model.encoder[0].weight is model.f.affine.weight
    assert model.code_range == (0.0, 1.0)


def test_seeds_that_are_trained_at_once_draw_bits_of_their_own():
    layers = [PlainAutoencoder((6,), BITS) for _ in range(2)]
    assert reason_not_batchable(layers[0]) is None
    together, x = SeedAutoencoders(layers), torch.rand(5, 6)
    together.model.noise = EnsembleNoise([torch.Generator().manual_seed(k) for k in (1, 2)])
    found = together.loss(torch.cat([x, x])).split(5)
    for layer, seed, energy in zip(layers, (1, 2), found, strict=True):
        layer.noise = seeded(seed)
        torch.testing.assert_close(energy, layer.energy(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Dense(3, "relu", stochastic=True), "a stochastic code has probabilities, but its activation is relu"),
        (lambda: make("contractive", coder=BITS), "a stochastic code has none. Leave stochastic out"),
        (lambda: VariationalAutoencoder((6,), BITS), "draws its code itself. Leave it out"),
    ],
)
def test_a_stochastic_code_that_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_hidden_activation_other_than_the_sigmoid_goes_with_bits():
    parts = Dense(3, "relu", hidden=(5,), code_activation="sigmoid", stochastic=True).build((6,))
    assert [type(module) for module in parts.body] == [nn.Linear, nn.ReLU]
    assert type(parts.activation) is BernoulliUnits


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical((2, 4))], ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_layer_draws_inputs_from_its_likelihood_by_its_noise(name, likelihood):
    model, h = make(name, likelihood=likelihood), torch.rand(5, 4)
    model.noise = seeded(1)
    drawn = model.sample(h)
    assert torch.equal(drawn, likelihood.sample(model.g(h), seeded(1)))
    assert drawn.shape == (5, 6)


def test_a_stack_draws_from_its_first_layer_given_the_expected_codes_above():
    stack = GreedyStack(
        (6,), [lambda s: PlainAutoencoder(s, Dense(5), likelihood=Bernoulli()), lambda s: PlainAutoencoder(s, Dense(2))]
    )
    first, second = stack
    first.noise, h = seeded(1), torch.rand(7, 2)
    assert torch.equal(stack.sample(h), Bernoulli().sample(first.g(second.decode(h)), seeded(1)))
    assert stack.sample(h).shape == (7, 6)
