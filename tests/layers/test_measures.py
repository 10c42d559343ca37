"""What a layer measures, shows and takes."""

import pytest
import torch
from torch import nn

from aepretrain import (
    L1,
    AdversarialAutoencoder,
    Bernoulli,
    Categorical,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    Dense,
    DropoutAutoencoder,
    Gaussian,
    Layer,
    Masking,
    PlainAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from aepretrain.parts.noise import Noise
from tests.parts.test_contraction import jacobian_norm, projected
from tests.support.variants import LAYERS, VARIANTS, make


@pytest.mark.parametrize("name", LAYERS)
def test_validation_measures_the_energy_the_plain_reconstruction_and_the_diagnostics(name):
    model, x = make(name).double().eval(), torch.rand(5, 6, dtype=torch.float64)
    model.noise = Noise(torch.Generator().manual_seed(4))
    found = model.validation_values(x)
    model.noise.manual_seed(4)
    torch.testing.assert_close(found.pop("loss"), model.energy(x))
    torch.testing.assert_close(found.pop("reconstruction"), (0.5 * (x - model.g(model.f(x))) ** 2).sum(dim=1))
    expected = {}
    if name.startswith("contractive"):
        expected = {"jacobian_norm": jacobian_norm(model.f, x).sqrt()}
    if name.startswith("variational"):
        mean, log_var = model.posterior(x)
        expected = {"kl": 0.5 * (mean**2 + log_var.exp() - log_var - 1).sum(dim=1)}
    if name == "adversarial":
        expected = {"recognized_codes": (model.discriminator(model.f(x))[:, 0] < 0).double()}
    if name.startswith("boltzmann"):
        expected = {"free_energy": model.free_energy(x)}
    torch.testing.assert_close(found, expected)
    again = model.validation_totals()
    assert again["mean_abs_code"].item() == pytest.approx(model.f(x).abs().mean().item(), rel=1e-5)
    model.validation_values(x[:1])
    assert model.validation_totals()["mean_abs_code"].item() == pytest.approx(
        model.f(x[:1]).abs().mean().item(), rel=1e-5
    )


def test_an_estimated_contraction_draws_its_directions_from_the_noise_of_the_layer():
    model, x = make("contractive-estimated", coder=Dense(4, "tanh", hidden=(5,))).double(), torch.rand(3, 6).double()
    model.noise = Noise(torch.Generator().manual_seed(4))
    found = model.energy(x)
    estimate = projected(model.f, x, 2, Noise(torch.Generator().manual_seed(4)))
    torch.testing.assert_close(found, model.L(x, model.g(model.f(x))) + 0.1 * estimate)


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_decoded_and_shown_is_the_mean_of_the_likelihood(name):
    model, x = make(name, likelihood=Bernoulli()), torch.rand(5, 6)
    h = model.f(x)
    torch.testing.assert_close(model.decode(h), torch.sigmoid(model.g(h)))
    torch.testing.assert_close(model.reconstruct(x), torch.sigmoid(model.g(h)))
    for answer in (model.encode(x), model.decode(h), model.reconstruct(x), model(x)):
        assert answer.requires_grad
    assert torch.equal(model(x), h)
    assert torch.equal(model.predict_step([x, None], 0), h)
    shown = model.pictures(x, Noise(torch.Generator().manual_seed(2)))
    assert torch.equal(shown["original"], x)
    damaged = x
    if name.startswith("denoising"):
        damaged = model.corruption(x, Noise(torch.Generator().manual_seed(2)))
        assert list(shown) == ["original", "corrupted", "reconstructed"]
        assert torch.equal(shown["corrupted"], damaged)
        assert not torch.equal(damaged, x)
    else:
        assert list(shown) == ["original", "reconstructed"]
    assert torch.equal(shown["reconstructed"], model.reconstruct(damaged))
    assert not shown["reconstructed"].requires_grad


def test_the_kl_of_every_unit_is_its_mean_over_examples():
    model, x = make("variational"), torch.rand(5, 6)
    mean, log_var = model.posterior(x)
    expected = (0.5 * (mean**2 + log_var.exp() - log_var - 1)).mean(dim=0)
    torch.testing.assert_close(model.unit_diagnostics(x)["kl"], expected)
    assert make("plain").unit_diagnostics(x) == {}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_asked_for_the_mean_of_its_data_and_leaves_the_global_generator_alone(name):
    model, x, before = make(name), torch.rand(50, 6), torch.get_rng_state()
    by_hand = 0.5 * (x - x.mean(dim=0)).square().sum(dim=1).mean().item()
    assert model.mean_reconstruction(x) == pytest.approx(by_hand, rel=1e-5)
    assert model.can_copy is False
    assert torch.equal(torch.get_rng_state(), before)
    assert model.variant() == name.partition("-")[0]


def test_the_defaults_are_those_of_the_documentation():
    def layer(variant, **kwargs):
        return variant((6,), Dense(4), **kwargs)

    assert layer(SparseAutoencoder).lam == 1e-3
    assert layer(SparseAutoencoder).penalty == L1()
    assert layer(DropoutAutoencoder).dropout.p == 0.5
    assert (layer(ContractiveAutoencoder).lam, layer(ContractiveAutoencoder).projections) == (0.1, None)
    assert layer(DenoisingAutoencoder).corruption == Masking(0.25)
    assert layer(VariationalAutoencoder).beta == 1.0
    assert (layer(AdversarialAutoencoder).lam, layer(AdversarialAutoencoder).discriminator_lr) == (1.0, None)
    assert all(Gaussian() == layer(variant).L for variant, _ in VARIANTS.values())
    assert layer(PlainAutoencoder).monitor == "val/reconstruction"
    assert layer(PlainAutoencoder).mode == "min"


@pytest.mark.parametrize(
    ("name", "argument", "ends"),
    [
        ("sparse", "lam", (0.0, 1e9)),
        ("contractive", "lam", (0.0, 1e9)),
        ("contractive", "projections", (1, 9)),
        ("variational", "beta", (0.0, 1e9)),
        ("dropout", "p", (0.0, 0.999)),
    ],
)
def test_the_ends_of_the_ranges_are_taken(name, argument, ends):
    for value in ends:
        make(name, **{argument: value})


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("sparse", "lam", float("inf")),
        ("contractive", "lam", float("inf")),
        ("contractive", "lam", float("nan")),
        ("contractive", "projections", 0),
        ("variational", "beta", float("inf")),
        ("variational", "beta", float("nan")),
    ],
)
def test_a_weight_that_is_not_finite_is_refused(name, argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must .* but got {value}"):
        make(name, **{argument: value})


class Encodes(Layer):
    """A layer that only encodes."""

    def __init__(self):
        super().__init__((3,), torch.optim.Adam)
        self.linear, self.code_shape, self.code_range = nn.Linear(3, 8), (2, 4), (-1.0, 1.0)

    def loss(self, *batch):
        return self.encode(batch[0]).square().sum(dim=1)

    def validation_values(self, *batch):
        return {"loss": self.loss(*batch)}

    def encode(self, x):
        return self.linear(x)

    @property
    def encoder(self):
        return nn.Sequential(self.linear)


def test_a_layer_without_a_decoder_says_so_and_has_no_other_diagnostics():
    layer, x = Encodes(), torch.rand(5, 3)
    for act in (layer.decode, layer.sample, layer.reconstruct):
        with pytest.raises(NotImplementedError, match="a Encodes"):
            act(x)
    assert (layer.diagnostics(x), layer.unit_diagnostics(x), layer.validation_totals()) == ({}, {}, {})
    assert layer.mean_reconstruction(x) is None
    assert layer.narrowest == 8
    assert layer.can_copy is False
    assert layer.check_inputs(x) is layer.check_input_range("layer 0", 0.0, 1.0) is layer.check_shapes() is None
    layer.in_shape = (4,)
    with pytest.raises(RuntimeError):
        layer.check_shapes()


def test_shapes_inputs_and_codes_that_do_not_fit_are_refused_by_the_likelihood():
    fits = PlainAutoencoder((4,), Dense(2), likelihood=Categorical((2, 2)))
    fits.check_shapes()
    with pytest.raises(ValueError, match="add up to 5"):
        PlainAutoencoder((4,), Dense(2), likelihood=Categorical((2, 3))).check_shapes()
    bernoulli = PlainAutoencoder((4,), Dense(2), likelihood=Bernoulli())
    bernoulli.check_inputs(torch.ones(2, 4))
    with pytest.raises(ValueError, match="but the data reach"):
        bernoulli.check_inputs(2 * torch.ones(2, 4))
    bernoulli.check_input_range("layer 0", 0.0, 1.0)
    for low, high in ((-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(ValueError, match=r"the codes of layer 0 lie in"):
            bernoulli.check_input_range("layer 0", low, high)
