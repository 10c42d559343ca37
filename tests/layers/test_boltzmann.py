"""The restricted Boltzmann machine: against sums over all states, and against scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import BernoulliRBM

from aepretrain import (
    Bernoulli,
    Categorical,
    Dense,
    Digits,
    Gaussian,
    GreedyStack,
    KLSparsity,
    Mixed,
    Pretraining,
    RestrictedBoltzmannMachine,
    RunContext,
)
from aepretrain.parts.noise import Noise
from tests.support.machines import binary_states, constant, joint_energy, log_z, machine, weights_of

X, H = binary_states(5), binary_states(4)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian()])
def test_the_free_energy_sums_over_all_hidden_states(likelihood):
    made = machine(likelihood=likelihood)
    x = X[::5] if likelihood == Bernoulli() else torch.randn(6, 5, dtype=torch.float64)
    sums = [-torch.stack([-joint_energy(made, row, h) for h in H]).logsumexp(dim=0) for row in x]
    shift = constant(made) if likelihood == Bernoulli() else 0.0
    torch.testing.assert_close(made.free_energy(x), torch.stack(sums) + shift)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian()])
def test_the_code_is_the_distribution_of_the_hidden_units_given_the_input(likelihood):
    made, x = machine(likelihood=likelihood), torch.rand(3, 5, dtype=torch.float64)
    for row, code in zip(x, made.encode(x), strict=True):
        p = torch.stack([-joint_energy(made, row, h) for h in H]).softmax(dim=0)
        torch.testing.assert_close(code, p @ H)


def test_decoding_is_the_distribution_of_the_inputs_given_the_hidden_units():
    made = machine()
    for h, decoded in zip(H, made.decode(H), strict=True):
        p = torch.stack([-joint_energy(made, x, h) for x in X]).softmax(dim=0)
        torch.testing.assert_close(decoded, p @ X)
    W, _, c = weights_of(made)
    torch.testing.assert_close(machine(likelihood=Gaussian()).decode(H), H @ W + c)


def log_likelihood(made, x):
    return -(made.free_energy(x) - constant(made)).mean() - log_z(made)


def gradients(made, value):
    return dict(zip(dict(made.named_parameters()), torch.autograd.grad(value, list(made.parameters())), strict=True))


def test_the_exact_expectation_in_place_of_the_chain_gives_the_gradient_of_the_log_likelihood():
    made, x = machine(), X[torch.tensor([3, 7, 7, 12, 30])]
    W, b, c = weights_of(made)
    expected = gradients(made, -(x @ c + torch.nn.functional.softplus(x @ W.t() + b).sum(dim=1)).mean() + log_z(made))
    p = (-made.free_energy(X)).softmax(dim=0).detach()
    found = gradients(made, made.free_energy(x).mean() - p @ made.free_energy(X))
    torch.testing.assert_close(found, expected)


def test_long_chains_estimate_the_gradient_of_the_log_likelihood():
    made, x = machine(persistent=4000, cd_steps=50), X[torch.tensor([3, 7, 7, 12, 30])]
    made.noise = Noise(torch.Generator().manual_seed(0))
    found = gradients(made, made.energy(x).mean())
    p = (-made.free_energy(X)).softmax(dim=0).detach()
    expected = gradients(made, made.free_energy(x).mean() - p @ made.free_energy(X))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0.04, rtol=0)  # five standard errors of 4000 chains


def test_the_gradient_is_that_of_contrastive_divergence_by_hand():
    made, x = machine(cd_steps=3), torch.rand(6, 5, dtype=torch.float64)
    W, b, c = weights_of(made)
    generator = torch.Generator().manual_seed(1)
    made.noise = Noise(torch.Generator().manual_seed(1))
    found = gradients(made, made.energy(x).mean())

    def draw(p):
        return (torch.empty_like(p).uniform_(generator=generator) < p).double()

    x_tilde = x
    for _ in range(3):
        h = draw(torch.sigmoid(x_tilde @ W.t() + b))
        x_tilde = draw(torch.sigmoid(h @ W + c))
    p, p_tilde = torch.sigmoid(x @ W.t() + b), torch.sigmoid(x_tilde @ W.t() + b)
    torch.testing.assert_close(found["f.affine.weight"], (p_tilde.t() @ x_tilde - p.t() @ x) / 6)
    torch.testing.assert_close(found["f.affine.bias"], (p_tilde - p).mean(dim=0))
    torch.testing.assert_close(found["g.0.bias"], (x_tilde - x).mean(dim=0))


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian(), Mixed(2, 1, (2,)), Categorical((2, 3))])
def test_gibbs_sampling_keeps_the_distribution_of_the_inputs_of_every_kind(likelihood):
    made = machine(likelihood=likelihood)
    made.noise = Noise(torch.Generator().manual_seed(0))
    x = made.gibbs(torch.zeros(4000, 5, dtype=torch.float64), 60)
    W, b, c = weights_of(made)
    outputs = H @ W + c  # of the decoder; p(h) is known for every kind from the normalizing constant of p(x | h)
    normalizers = {
        Bernoulli: lambda y: torch.nn.functional.softplus(y).sum(dim=1),
        Gaussian: lambda y: 0.5 * y.square().sum(dim=1),
        Categorical: lambda y: sum(part.logsumexp(dim=1) for part in y.split(likelihood.groups, dim=1)),
        Mixed: lambda y: (
            0.5 * y[:, :2].square().sum(dim=1) + torch.nn.functional.softplus(y[:, 2]) + y[:, 3:].logsumexp(dim=1)
        ),
    }
    p = (H @ b + normalizers[type(likelihood)](outputs)).softmax(dim=0)
    torch.testing.assert_close(x.mean(dim=0), p @ likelihood.mean(outputs), atol=0.12, rtol=0)
    likelihood.check(x)


def test_the_reconstruction_the_code_and_the_free_energies_are_those_of_scikit_learn():
    x = np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float64)
    theirs = BernoulliRBM(4, n_iter=3, learning_rate=0.1, random_state=0).fit(x)
    ours = RestrictedBoltzmannMachine((6,), Dense(4)).double()
    with torch.no_grad():
        for parameter, value in zip(
            weights_of(ours),
            (theirs.components_, theirs.intercept_hidden_, theirs.intercept_visible_),
            strict=True,
        ):
            parameter.copy_(torch.from_numpy(value))
    rows = torch.from_numpy(x)
    torch.testing.assert_close(ours.encode(rows), torch.from_numpy(theirs.transform(x)))
    flipped = x.copy()  # the pseudo-likelihood of score_samples: one input of each row is flipped
    place = (np.arange(40), np.random.RandomState(0).randint(0, 6, 40))
    flipped[place] = 1 - flipped[place]
    theirs.random_state = 0
    log_odds = ours.free_energy(torch.from_numpy(flipped)) - ours.free_energy(rows)
    found = 6 * torch.nn.functional.logsigmoid(log_odds)
    torch.testing.assert_close(found, torch.from_numpy(theirs.score_samples(x)))


def test_persistent_chains_move_in_training_alone_and_recover_from_nan():
    made, x = machine(persistent=7, likelihood=Gaussian()), torch.rand(3, 5, dtype=torch.float64)
    before = made.chain.clone()
    made.eval().validation_values(x)
    assert torch.equal(made.chain, before)
    made.train().energy(x)
    assert (made.chain != before).any(dim=1).all()
    assert "chain" in made.state_dict()
    assert "chain" not in machine().state_dict()
    made.chain[2] = float("nan")
    made.energy(x)
    assert made.chain.isfinite().all()


def test_the_sparsity_penalty_is_added_with_its_weight():
    x = torch.rand(6, 5, dtype=torch.float64)
    plain, sparse = machine().eval(), machine(lam=0.5, penalty=KLSparsity(0.1)).eval()
    for each in (plain, sparse):
        each.noise = Noise(torch.Generator().manual_seed(2))
    h = plain.encode(x)
    penalty = 0.5 * KLSparsity(0.1)(h)
    energies = plain.energy(x), sparse.energy(x)
    torch.testing.assert_close(energies[1] - energies[0], penalty.expand(6))
    without, found = (gradients(made, E.mean()) for made, E in zip((plain, sparse), energies, strict=True))
    taught = torch.autograd.grad(penalty, [plain.f.affine.weight, plain.f.affine.bias])
    for name, gradient in zip(("f.affine.weight", "f.affine.bias"), taught, strict=True):
        torch.testing.assert_close(found[name] - without[name], gradient)


def test_the_free_energy_gap_is_that_of_the_means_of_both_samples():
    made, train, validation = machine(), X[:20], X[20:]
    found = made.generalization(train, validation)
    one, other = (made.free_energy(x).tolist() for x in (train, validation))
    assert found["free_energy_gap"] == pytest.approx(np.mean(other) - np.mean(one))
    error = (np.var(one, ddof=1) / len(one) + np.var(other, ddof=1) / len(other)) ** 0.5
    assert found["free_energy_gap_error"] == pytest.approx(error)


def test_the_defaults_are_those_of_the_documentation():
    made = RestrictedBoltzmannMachine((6,), Dense(4))
    assert (made.cd_steps, made.chain, made.lam, made.penalty) == (1, None, 0.0, KLSparsity(0.1))
    assert (made.L, made.can_copy, made.code_range) == (Bernoulli(), False, (0.0, 1.0))
    (group,) = made.make_optimizer().param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.05, 0.5, 0.0)
    assert made.g[0].weight is made.f.affine.weight
    assert [type(module).__name__ for module in made.encoder] == ["Linear", "Sigmoid"]
    shaped = RestrictedBoltzmannMachine((1, 3, 2), Dense(4))
    assert [type(module).__name__ for module in shaped.encoder] == ["Flatten", "Linear", "Sigmoid"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cd_steps": 0}, "cd_steps must be at least 1, but got 0"),
        ({"persistent": -1}, "persistent must be >= 0, but got -1"),
        ({"lam": -0.1}, "lam must be finite and >= 0, but got -0.1"),
        ({"lam": float("inf")}, "lam must be finite and >= 0, but got inf"),
        ({"coder": Dense(4, hidden=(3,))}, "one sigmoid layer and draws its units itself"),
        ({"coder": Dense(4, k=2)}, "one sigmoid layer and draws its units itself"),
        ({"coder": Dense(4, stochastic=True)}, "one sigmoid layer and draws its units itself"),
        ({"coder": Dense(4, activation="relu")}, "one sigmoid layer and draws its units itself"),
    ],
)
def test_a_setting_that_no_machine_has_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        RestrictedBoltzmannMachine((6,), **{"coder": Dense(4), **changes})
    assert "\n" not in str(caught.value)


def test_bfloat16_keeps_the_gradient_of_every_parameter():
    made = RestrictedBoltzmannMachine((6,), Dense(4), persistent=3)
    with torch.autocast("cpu", torch.bfloat16):
        made.energy(torch.rand(5, 6)).mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.parameters())


def test_a_stack_of_machines_decodes_samples_and_tells_its_decoders():
    stack = GreedyStack((1, 3, 2), [lambda s, n=n: RestrictedBoltzmannMachine(s, Dense(n)) for n in (5, 4)])
    x = torch.rand(7, 1, 3, 2)
    assert stack.reconstruct(x).shape == x.shape
    assert stack.stages == ["00-boltzmann", "01-boltzmann"]
    (g, L), _ = stack.decoders
    torch.testing.assert_close(L.mean(g(torch.ones(1, 5))), next(iter(stack)).decode(torch.ones(1, 5)))


def test_codes_of_digits_serve_logistic_regression_about_as_well_as_pixels():
    data = Digits()
    layer = lambda s: RestrictedBoltzmannMachine(s, Dense(128))  # noqa: E731
    stack = GreedyStack(data.in_shape, [layer]).fit(data, Pretraining(epochs=15, batch_size=32), RunContext())
    splits = data.splits()

    def accuracy(encode):
        train, test = (encode(part.x.flatten(1)) for part in (splits.train, splits.test))
        return LogisticRegression(C=10, max_iter=2000).fit(train, splits.train.y).score(test, splits.test.y)

    ours = accuracy(lambda x: stack.encode(x.reshape(-1, *data.in_shape)).detach().numpy())
    theirs = BernoulliRBM(128, learning_rate=0.06, n_iter=15, batch_size=32, random_state=0)
    theirs.fit(splits.train.x.flatten(1))
    assert ours > accuracy(lambda x: x.numpy()) - 0.03
    assert ours > accuracy(lambda x: theirs.transform(x))
    assert stack.diagnostics[0].scalars["free_energy_gap"] == pytest.approx(0, abs=2)


def test_the_list_of_states_holds_every_state_once():
    assert {tuple(row) for row in X.tolist()} == set(itertools.product((0.0, 1.0), repeat=5))
