"""Bounds of the variational autoencoder, against torch.distributions and a model whose likelihood is known."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from aepretrain import Bernoulli, Dense, VariationalAutoencoder
from aepretrain.ensembles.autoencoders import reason_not_batchable
from aepretrain.layers.diagnostics import diagnose
from aepretrain.parts.divergences import kl_to_standard_normal
from aepretrain.parts.noise import Noise
from aepretrain.storage.weight_files import read_weights, write_weights
from tests.support.variants import make
from tests.training.recovery.test_checkpoints import check_that_it_goes_on, seeded
from tests.training.recovery.test_checkpoints import train as train_in_parts

PRIOR = Normal(0.0, 1.0)
CONSTANT = 0.5 * 6 * math.log(2 * math.pi)
"""What Gaussian leaves out of the loss of six features."""


def noise(seed):
    return Noise(torch.Generator().manual_seed(seed))


def linear_gaussian():
    """A model of p(x) = N(c, W W^T + I) whose posterior is near the true one, and its exact log-likelihood."""
    torch.manual_seed(0)
    model = VariationalAutoencoder((6,), Dense(2, "linear")).double()
    W, c = torch.randn(6, 2, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    covariance = torch.linalg.inv(W.T @ W + torch.eye(2))
    with torch.no_grad():
        model.g[0].weight.copy_(W)
        model.g[0].bias.copy_(c)
        model.f.affine.weight.copy_(covariance @ W.T)
        model.f.affine.bias.copy_(-covariance @ W.T @ c)
        model.log_var.bias.copy_(covariance.diagonal().log() + 0.2)
    exact = MultivariateNormal(c, W @ W.T + torch.eye(6, dtype=torch.float64))
    return model, exact, exact.sample((20,))


def test_importance_sampling_finds_the_exact_likelihood_of_a_linear_gaussian_model():
    model, exact, x = linear_gaussian()
    found = model.log_likelihood(x, samples=5000, noise=noise(1)) - CONSTANT
    torch.testing.assert_close(found, exact.log_prob(x), rtol=0, atol=0.05)
    assert abs((found - exact.log_prob(x)).mean()) < 0.01


def test_more_samples_give_a_tighter_bound_and_one_the_evidence_lower_bound():
    model, exact, x = linear_gaussian()
    x = x[:1].expand(20_000, 6)
    mean, log_var = model.posterior(x)
    # The expected squared error of a linear decoder in closed form.
    spread = 0.5 * (log_var.exp() * model.g[0].weight.square().sum(dim=0)).sum(dim=1)
    elbo = -(model.L(x, model.g(mean)) + spread + kl_to_standard_normal(mean, log_var))[0].item()
    bounds = {k: model.log_mean_weight(x, k, noise=noise(2)) for k in (1, 5, 25)}
    assert bounds[1].mean().item() == pytest.approx(elbo, abs=5 * bounds[1].std().item() / math.sqrt(20_000))
    found = [bound.mean().item() for bound in bounds.values()]
    assert found[0] < found[1] < found[2] < exact.log_prob(x[0]).item() + CONSTANT


def test_the_importance_weighted_energy_is_that_of_torch_distributions_draw_by_draw():
    model, x = make("variational-importance", beta=0.7).double(), torch.rand(4, 6, dtype=torch.float64)
    with torch.no_grad():
        model.log_var.weight.normal_(std=0.3)
    model.noise = noise(3)
    found = model.energy(x)
    epsilon = torch.empty(4, 3, 4, dtype=torch.float64)
    epsilon.view(12, 4).normal_(generator=torch.Generator().manual_seed(3))
    for row in range(4):
        mean, log_var = (each[0] for each in model.posterior(x[row : row + 1]))
        q, weights = Normal(mean, (0.5 * log_var).exp()), []
        for draw in epsilon[row]:
            z = mean + q.stddev * draw
            likelihood = Normal(model.g(z), 1.0).log_prob(x[row]).sum() + CONSTANT
            weights.append((likelihood - 0.7 * (q.log_prob(z) - PRIOR.log_prob(z)).sum()).exp())
        torch.testing.assert_close(found[row], -torch.stack(weights).mean().log())


def test_one_sample_takes_the_divergence_in_closed_form():
    one, model = make("variational", samples=1), make("variational")
    one.load_state_dict(model.state_dict())
    one.noise, model.noise = noise(1), noise(1)
    x = torch.rand(5, 6)
    assert torch.equal(one.energy(x), model.energy(x))


def test_the_likelihood_is_the_same_in_one_part_and_in_many(monkeypatch):
    model, _, x = linear_gaussian()
    whole = model.log_likelihood(x, samples=1000, noise=noise(1))
    monkeypatch.setattr("aepretrain.layers.variational.ROWS_AT_ONCE", 1000)
    parts = model.log_likelihood(x, samples=1000, noise=noise(2))
    torch.testing.assert_close(whole, parts, rtol=0, atol=0.1)
    assert not whole.requires_grad
    with pytest.raises(ValueError, match="samples must be >= 1, but got 0"):
        model.log_likelihood(x, samples=0)


def test_a_likelihood_of_many_draws_is_that_of_a_plain_loop_over_the_same_draws(monkeypatch):
    model, x = make("variational", likelihood=Bernoulli()).eval(), torch.rand(4, 6).round()
    monkeypatch.setattr("aepretrain.layers.variational.ROWS_AT_ONCE", 28)
    monkeypatch.setattr("aepretrain.layers.variational.CACHED_ROWS", 5)
    found = model.log_likelihood(x, samples=16, noise=noise(3))
    mean, log_var = model.posterior(x)
    draws = noise(3)
    epsilon = torch.cat(
        [draws.normal_like(mean.repeat_interleave(k, 0)).unflatten(0, (4, k)) for k in (7, 7, 2)], dim=1
    )
    for b in range(4):
        log_w = []
        for e in epsilon[b]:
            z = mean[b] + (0.5 * log_var[b]).exp() * e
            q = Normal(mean[b], (0.5 * log_var[b]).exp()).log_prob(z).sum()
            log_w.append(Normal(0, 1).log_prob(z).sum() - q - model.L(x[b : b + 1], model.g(z[None]))[0])
        expected = torch.stack(log_w).logsumexp(dim=0) - math.log(16)
        torch.testing.assert_close(found[b], expected, rtol=1e-4, atol=1e-4)


def test_beta_rises_over_the_steps_of_the_warm_up_and_validation_has_it_whole():
    model, x = make("variational", beta=0.5, warm_up_steps=4), torch.rand(5, 6)
    found = []
    for _ in range(6):
        model.loss(x)
        found.append(float(model.present_beta()))
    assert found == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.5])
    model.eval()
    model.loss(x)
    assert model.present_beta() == 0.5
    assert model.steps == 6
    assert "steps" not in make("variational").state_dict()


def test_the_energy_of_a_warm_up_has_the_present_weight():
    model, x = make("variational", beta=1.0, warm_up_steps=4).double(), torch.rand(5, 6, dtype=torch.float64)
    with torch.no_grad():
        model.steps.fill_(1)
    model.noise = noise(1)
    rising = model.train().energy(x)
    model.noise.manual_seed(1)
    whole = model.eval().energy(x)
    torch.testing.assert_close(whole - rising, 0.75 * kl_to_standard_normal(*model.posterior(x)))


def test_a_warm_up_goes_on_with_the_same_bits(tmp_path):
    build = partial(seeded, partial(make, "variational", warm_up_steps=10))
    whole = build()
    record = train_in_parts(whole)
    assert whole.steps > 7
    check_that_it_goes_on(build, 7, (whole, record), tmp_path)


def test_layers_with_and_without_a_warm_up_take_the_weights_of_each_other(tmp_path):
    risen, plain = make("variational", warm_up_steps=4), make("variational")
    with torch.no_grad():
        risen.steps.fill_(3)
    for source, steps in ((risen, 3), (plain, 0)):
        write_weights(tmp_path / "model.safetensors", source)
        for target in (make("variational", warm_up_steps=9), make("variational")):
            read_weights(tmp_path / "model.safetensors", target)
            assert torch.equal(target.log_var.weight, source.log_var.weight)
            assert torch.equal(target.f.affine.weight, source.f.affine.weight)
            assert getattr(target, "steps", steps) == steps


def test_free_bits_stop_the_pull_to_the_prior():
    model, x = make("variational", free_bits=100.0), torch.rand(5, 6)
    mean, log_var = model.posterior(x)
    assert model.kl(mean, log_var).item() == 400.0
    (gradient,) = torch.autograd.grad(model.kl(mean, log_var), model.log_var.bias)
    assert not gradient.any()
    assert reason_not_batchable(model) == "free_bits compares the mean over a batch"


def test_binarized_pixels_are_drawn_anew_at_every_step_and_alike_in_validation():
    model, x = make("variational", binarize=True, likelihood=Bernoulli()).double(), torch.rand(5, 6).double()
    model.noise = noise(1)
    seen = model.observed(x)
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(model.observed(x), seen)
    assert torch.equal(model.observed(seen), seen)

    model.noise.manual_seed(1)
    found = model.energy(x)
    model.noise.manual_seed(1)
    bits = model.observed(x)
    epsilon = model.noise.normal_like(model.posterior(bits)[0])
    mean, log_var = model.posterior(bits)
    expected = model.L(bits, model.g(mean + (0.5 * log_var).exp() * epsilon))
    torch.testing.assert_close(found, expected + 0.5 * kl_to_standard_normal(mean, log_var))

    model.noise.manual_seed(1)
    values = model.validation_values(x)
    torch.testing.assert_close(values["reconstruction"], model.L(bits, model.g(mean)))
    torch.testing.assert_close(values["kl"], kl_to_standard_normal(mean, log_var))


def test_active_units_are_those_whose_posterior_mean_varies_by_more_than_a_hundredth():
    model, x = make("variational"), torch.randn(500, 6)
    with torch.no_grad():
        model.f.affine.weight.zero_()
        for unit, deviation in enumerate((0.0, 0.09, 0.11, 5.0)):
            model.f.affine.weight[unit, 0] = deviation
        x[:, 0] = (x[:, 0] - x[:, 0].mean()) / x[:, 0].std(correction=0)
    closing = diagnose(model, x)
    assert closing.scalars["active_units"] == 2
    assert closing.units["variance"] == pytest.approx((0.0, 0.0081, 0.0121, 25.0), rel=1e-3)


def test_the_likelihood_is_measured_once_at_the_end_with_the_generator_of_the_stage():
    model, exact, x = linear_gaussian()
    model.nll_samples = 200
    found = [diagnose(model, x, torch.Generator().manual_seed(seed)).scalars for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0]["nll"] != found[2]["nll"]
    assert found[0]["nll"] == pytest.approx(-exact.log_prob(x).mean().item() - CONSTANT, abs=0.02)
    model.nll_samples = 0
    assert "nll" not in diagnose(model, x).scalars


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"free_bits": -1.0}, "free_bits must be finite and >= 0, but got -1.0"),
        ({"free_bits": float("nan")}, "free_bits must be finite and >= 0, but got nan"),
        ({"samples": 0}, "samples must be >= 1, but got 0"),
        ({"warm_up_steps": -1}, "warm_up_steps must be >= 0, but got -1"),
        ({"nll_samples": -1}, "nll_samples must be >= 0, but got -1"),
        ({"samples": 5, "free_bits": 0.1}, "free_bits must be 0 with several samples"),
        ({"binarize": True}, "binarize draws 0 or 1, but the likelihood is Gaussian. Set likelihood to Bernoulli"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make("variational", **arguments)
