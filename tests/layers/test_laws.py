import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from aepretrain import (
    Autoencoder,
    Bernoulli,
    Dense,
    PlainAutoencoder,
)
from aepretrain.data import Batches
from aepretrain.layers import CodingLayer
from aepretrain.parts.noise import Noise
from tests.support.variants import CODERS, LAYERS, VARIANTS, WITHOUT_REGULARIZER, make

FINAL = sorted({variant for variant, _ in VARIANTS.values()}, key=lambda cls: cls.__name__)


def test_the_list_of_laws_holds_every_variant_of_the_package():
    subclasses = {*Autoencoder.__subclasses__(), *CodingLayer.__subclasses__()} - {Autoencoder}
    listed = {variant for variant, _ in LAYERS.values()}
    assert listed == {each for each in subclasses if each.__module__.startswith("aepretrain.")}  # tests have their own


@pytest.mark.parametrize("variant", FINAL)
def test_variant_is_final_and_fills_in_energy(variant):
    assert variant.__bases__ == (Autoencoder,)
    assert not [each for each in variant.__subclasses__() if each.__module__.startswith("aepretrain.")]
    assert "energy" in vars(variant)


def test_the_abstract_autoencoder_cannot_be_instantiated():
    with pytest.raises(TypeError, match="abstract"):
        Autoencoder((6,), Dense(4))


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", VARIANTS)
def test_energy_is_one_value_per_example_and_its_gradient_reaches_every_parameter(name, coder):
    if name == "sparse-kl" and coder != "dense":
        with pytest.raises(ValueError, match="KLSparsity needs codes in"):
            make(name, coder=CODERS[coder])
        return
    model = make(name, coder=CODERS[coder]).double()
    energy = model.energy(torch.rand(5, 6, dtype=torch.float64))
    assert energy.shape == (5,)
    assert energy.dtype == torch.float64
    energy.sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", LAYERS)
def test_images_are_encoded_and_given_back_in_their_shape(name):
    model = make(name, in_shape=(1, 3, 2))
    x = torch.rand(5, 1, 3, 2)
    assert model.energy(x).shape == (5,)
    assert model.encode(x).shape == (5, 4)
    assert model.reconstruct(x).shape == x.shape


@pytest.mark.parametrize("name", WITHOUT_REGULARIZER)
def test_variant_without_its_regularizer_is_the_plain_autoencoder(name):
    variant, off = WITHOUT_REGULARIZER[name]
    plain, model = PlainAutoencoder((6,), Dense(4)).double(), variant((6,), Dense(4), **off).double()
    model.load_state_dict(plain.state_dict())
    x = torch.rand(5, 6, dtype=torch.float64)
    torch.testing.assert_close(model.energy(x), plain.energy(x))
    assert not model.is_regularized()


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "plain"])
def test_variant_with_its_regularizer_says_that_it_has_one(name):
    assert make(name).is_regularized()


@pytest.mark.parametrize("name", LAYERS)
def test_noise_is_a_function_of_the_generator_and_leaves_the_global_one_alone(name):
    model, x = make(name), torch.rand(5, 6)
    model.noise = Noise(torch.Generator())
    before = torch.get_rng_state()
    energies = []
    for seed in (1, 1, 2):
        model.noise.manual_seed(seed)
        energies.append(model.eval().energy(x))
    assert torch.equal(energies[0], energies[1])
    assert torch.equal(torch.get_rng_state(), before)
    if name.startswith(("denoising", "dropout", "variational", "adversarial", "boltzmann")):
        assert not torch.equal(energies[0], energies[2])


@pytest.mark.parametrize("name", LAYERS)
def test_the_encoder_is_plain_torch(name):
    assert not any(isinstance(module, LightningModule) for module in make(name).f.modules())


@pytest.mark.parametrize("name", LAYERS)
def test_variant_trains_validates_saves_and_reloads(name, tmp_path):
    model = make(name, coder=Dense(4), likelihood=Bernoulli())
    x = torch.rand(64, 6)
    before = model.f.affine.weight.clone()
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path, inference_mode=False,
    )  # fmt: skip
    trainer.fit(model, Batches([x], 16), Batches([x], 64, shuffle=False))
    assert {"val/loss", "val/reconstruction", "val/active_share", "val/dead_units"} <= trainer.callback_metrics.keys()
    assert not torch.equal(before, model.f.affine.weight)

    trainer.save_checkpoint(tmp_path / "model.ckpt")
    again = LAYERS[name][0].load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert torch.equal(again.encode(x), model.encode(x))
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))
    losses = []
    for each in (again.eval(), model.eval()):
        torch.manual_seed(0)
        losses.append(each.loss(x).detach())
    assert torch.equal(*losses)  # likelihood, noise, penalty and weights of both are the same


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("sparse", "lam", -0.1),
        ("sparse", "lam", float("nan")),
        ("dropout", "p", 1.0),
        ("contractive", "lam", -1),
        ("variational", "beta", -1),
    ],
)
def test_a_weight_outside_its_range_is_refused_by_its_name_and_value(name, argument, value):
    with pytest.raises(ValueError, match=rf"\b{argument}\b.*got {value}"):
        make(name, **{argument: value})


def test_the_code_of_a_variational_autoencoder_is_the_mean_of_its_posterior():
    model = make("variational", coder=Dense(3, hidden=(5,)))
    x = torch.rand(4, 6)
    assert torch.equal(model.encode(x), model.posterior(x)[0])
    assert model.coder.code_range == (-float("inf"), float("inf"))


@pytest.mark.parametrize("beta", [1.0, 0.25, 0.0])
def test_the_variational_energy_is_the_elbo_of_torch_distributions(beta):
    model = make("variational", beta=beta).double()
    with torch.no_grad():
        model.log_var.weight.normal_(std=0.3)
    x = torch.rand(5, 6, dtype=torch.float64)
    mean, log_var = model.posterior(x)
    q = torch.distributions.Normal(mean, (0.5 * log_var).exp())
    model.noise = Noise(torch.Generator().manual_seed(3))
    epsilon = torch.empty_like(mean).normal_(generator=torch.Generator().manual_seed(3))
    p = torch.distributions.Normal(model.g(mean + q.stddev * epsilon), 1.0)
    constant = 0.5 * 6 * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(model.energy(x), -p.log_prob(x).sum(dim=1) - constant + beta * kl)


def by_hand(model, x, m=None, x_tilde=None):
    """Code and squared error of a one-layer model, example by example, from its weights alone."""
    seen = x if x_tilde is None else x_tilde
    W, b, V, c = (t.detach() for t in (model.f.affine.weight, model.f.affine.bias, model.g[0].weight, model.g[0].bias))
    codes, losses = [], []
    for k, row in enumerate(x):
        h = 1 / (1 + torch.exp(-(W @ seen[k] + b)))
        y = V @ (h if m is None else m[k] * h) + c
        codes.append(h)
        losses.append(sum((target - value) ** 2 / 2 for target, value in zip(row, y, strict=True)))
    return torch.stack(codes), torch.stack(losses)


def test_the_energies_are_the_textbook_equations_by_hand():
    x = torch.rand(5, 6, dtype=torch.float64)

    def noise():
        return torch.Generator().manual_seed(7)

    def energy(name):
        model = make(name).double()
        model.noise = Noise(noise())
        return model, model.energy(x)

    model, found = energy("plain")
    torch.testing.assert_close(found, by_hand(model, x)[1])

    model, found = energy("sparse")
    h, loss = by_hand(model, x)
    torch.testing.assert_close(found, loss + 0.1 * h.abs().sum(dim=1))

    model, found = energy("sparse-kl")
    h, loss = by_hand(model, x)
    rho = h.mean(dim=0)
    divergence = (0.1 * torch.log(0.1 / rho) + 0.9 * torch.log(0.9 / (1 - rho))).sum()
    torch.testing.assert_close(found, loss + 0.1 * divergence, rtol=1e-4, atol=0)

    model, found = energy("dropout")
    m = (torch.empty(5, 4, dtype=torch.float64).uniform_(generator=noise()) >= 0.3) / 0.7
    torch.testing.assert_close(found, by_hand(model, x, m)[1])

    model, found = energy("contractive")
    h, loss = by_hand(model, x)
    J = torch.stack([torch.autograd.functional.jacobian(lambda r: model.f(r.unsqueeze(0))[0], row) for row in x])
    torch.testing.assert_close(found, loss + 0.1 * (J**2).sum(dim=(1, 2)))

    model, found = energy("denoising-masking")
    x_tilde = x * (torch.empty_like(x).uniform_(generator=noise()) >= 0.3)
    torch.testing.assert_close(found, by_hand(model, x, x_tilde=x_tilde)[1])

    model, found = energy("denoising-gaussian")
    x_tilde = x + 0.2 * torch.empty_like(x).normal_(generator=noise())
    torch.testing.assert_close(found, by_hand(model, x, x_tilde=x_tilde)[1])

    model, found = energy("denoising-salt")
    u = torch.empty_like(x).uniform_(generator=noise())
    x_tilde = torch.where(u < 0.1, torch.zeros_like(x), torch.where(u < 0.2, torch.ones_like(x), x))
    torch.testing.assert_close(found, by_hand(model, x, x_tilde=x_tilde)[1])


def test_an_overcomplete_layer_is_one_whose_narrowest_width_exceeds_the_input():
    assert PlainAutoencoder((6,), Dense(7)).can_copy
    assert not PlainAutoencoder((6,), Dense(6)).can_copy
    assert not PlainAutoencoder((6,), Dense(9, hidden=(3,))).can_copy
    assert not make("sparse", coder=Dense(7)).can_copy


def test_weights_of_a_tied_coder_are_one_parameter():
    model = PlainAutoencoder((6,), Dense(4, tied=True, hidden=(5,)))
    assert len(list(model.parameters())) == 2 + 2 + 2
    assert model.g[0].weight is model.f.affine.weight
    assert model.g[2].weight is model.f.body[0].weight


@pytest.mark.parametrize("coder", CODERS)
def test_an_encoder_is_a_sequential_of_three_named_parts(coder):
    model = make("plain", coder=CODERS[coder])
    assert type(model.f) is nn.Sequential
    assert [name for name, _ in model.f.named_children()] == ["body", "affine", "activation"]
    x = torch.rand(5, 6)
    assert torch.equal(model.f(x), model.f.activation(model.f.affine(model.f.body(x))))
