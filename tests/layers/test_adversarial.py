"""The adversarial autoencoder: two players, each with its own loss, gradients and optimizer."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.optim import LBFGS, SGD, Adam

from aepretrain import AdversarialAutoencoder, ConfigError, Dense, PlainAutoencoder
from aepretrain.parts.noise import Noise
from tests.support.variants import make

X = torch.rand(5, 6, dtype=torch.float64)


def seeded(**kwargs):
    torch.manual_seed(0)
    model = make("adversarial", **kwargs).double()
    model.noise = Noise(torch.Generator().manual_seed(3))
    return model


def draws():
    return torch.empty(5, 4, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(3))


def players(model):
    own = list(model.discriminator.parameters())
    return [weight for weight in model.parameters() if not any(weight is each for each in own)], own


def losses(model, x, z):
    """The losses of the autoencoder and of the discriminator, as cross-entropies."""
    h, D = model.f(x), model.discriminator
    ones = torch.ones(len(x), 1, dtype=x.dtype)
    deceiving = F.binary_cross_entropy_with_logits(D(h), ones, reduction="none")[:, 0]
    told = F.binary_cross_entropy_with_logits(D(z), ones, reduction="none")
    told = told + F.binary_cross_entropy_with_logits(D(h), 0 * ones, reduction="none")
    return 0.5 * (x - model.g(h)).square().sum(dim=1) + model.lam * deceiving, told[:, 0]


def test_the_energy_is_the_sum_of_both_losses():
    model = seeded()
    torch.testing.assert_close(model.energy(X), sum(losses(model, X, draws())))


def test_each_player_follows_the_gradient_of_its_own_loss():
    model = seeded()
    found = torch.autograd.grad(model.energy(X).mean(), [*players(model)[0], *players(model)[1]])
    expected = [
        gradient
        for loss, own in zip(losses(model, X, draws()), players(model), strict=True)
        for gradient in torch.autograd.grad(loss.mean(), own)
    ]
    torch.testing.assert_close(found, tuple(expected))


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01, weight_decay=0.1)])
def test_two_parameter_groups_take_the_steps_of_two_optimizers(optimizer):
    model, twin = seeded(optimizer=optimizer, discriminator_lr=0.03), seeded()
    one, two = model.make_optimizer(), [optimizer(players(twin)[0]), optimizer(players(twin)[1], lr=0.03)]
    assert [group["lr"] for group in one.param_groups] == [each.param_groups[0]["lr"] for each in two]
    for _ in range(5):
        for each, optimizers in ((model, [one]), (twin, two)):
            loss = each.energy(X).mean()
            for each_optimizer in optimizers:
                each_optimizer.zero_grad()
            loss.backward()
            for each_optimizer in optimizers:
                each_optimizer.step()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), twin.parameters(), strict=True))


def test_without_a_rate_of_its_own_the_discriminator_has_that_of_the_autoencoder():
    made = make("adversarial", optimizer=partial(SGD, lr=0.2)).make_optimizer()
    assert [group["lr"] for group in made.param_groups] == [0.2, 0.2]


def test_what_is_not_to_be_trained_is_in_no_group():
    model = make("adversarial")
    model.f.requires_grad_(False)
    trained = [weight for group in model.make_optimizer().param_groups for weight in group["params"]]
    assert len(trained) == len(list(model.g.parameters())) + len(list(model.discriminator.parameters()))


def test_an_optimizer_without_groups_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"two parameter groups.*LBFGS.*Use Adam or SGD\."):
        make("adversarial", optimizer=LBFGS).make_optimizer()


def test_another_fault_of_an_optimizer_is_told_as_it_is():
    with pytest.raises(ValueError, match=r"^Invalid learning rate: -1"):
        make("adversarial", optimizer=partial(SGD, lr=-1)).make_optimizer()


@pytest.mark.parametrize(
    ("argument", "value"),
    [("lam", -1), ("lam", float("inf")), ("discriminator_lr", 0), ("discriminator_lr", float("inf"))],
)
def test_a_setting_out_of_range_is_refused(argument, value):
    with pytest.raises(ValueError, match=rf"{argument} must .* but got {value}"):
        make("adversarial", **{argument: value})


def test_a_layer_of_the_discriminator_without_units_is_refused():
    with pytest.raises(ValueError, match="discriminator needs at least 1 unit, but got 0"):
        make("adversarial", discriminator=(3, 0))


def test_recognized_codes_are_those_that_the_discriminator_takes_for_codes():
    model = seeded()
    probability = torch.sigmoid(model.discriminator(model.f(X)))[:, 0]
    assert model.diagnostics(X)["recognized_codes"].tolist() == (probability < 0.5).double().tolist()


def test_codes_come_to_follow_the_prior():
    """Of data in two clusters, the codes of a plain autoencoder keep two, those of an adversarial one fill N(0, 1)."""
    generator = torch.Generator().manual_seed(0)
    side = torch.randint(0, 2, (512, 1), generator=generator) * 2.0 - 1
    x = 3 * side + 0.1 * torch.randn(512, 2, generator=generator)
    distances = {}
    for name, build in (("plain", PlainAutoencoder), ("adversarial", AdversarialAutoencoder)):
        torch.manual_seed(0)
        settings = {"discriminator": (32,), "discriminator_lr": 0.01} if name == "adversarial" else {}
        model = build(
            (2,),
            Dense(1, "tanh", hidden=(32,), code_activation="linear"),
            optimizer=partial(Adam, lr=0.003),
            **settings,
        )
        optimizer = model.make_optimizer()
        for _ in range(600):
            optimizer.zero_grad()
            model.energy(x).mean().backward()
            optimizer.step()
        codes = model.encode(x).detach().flatten().sort().values
        quantiles = torch.special.ndtri((torch.arange(512) + 0.5) / 512)
        distances[name] = (codes - quantiles).abs().mean().item()  # the Wasserstein distance to N(0, 1)
    assert distances["adversarial"] < 0.3 * distances["plain"], distances
