"""Codes with few active units: the k largest, learnt thresholds, and decoders of unit norm."""

import json

import pytest
import torch
from torch import nn
from torch.optim import SGD

import aepretrain as ae
from aepretrain.ensembles.train import reason_impossible
from aepretrain.parts.sparse_codes import BANDWIDTH, JumpReLU, TopK
from aepretrain.pretraining.unroll import unroll

QUIET = ae.RunContext(progress=False)


def test_the_k_largest_values_are_kept_and_alone_have_a_gradient():
    h = torch.randn(7, 9, requires_grad=True)
    kept = TopK(3)(h)
    for row, own in zip(h.tolist(), kept.tolist(), strict=True):
        least = sorted(row)[-3]
        assert own == [value if value >= least else 0.0 for value in row]
    kept.sum().backward()
    assert torch.equal(h.grad, (kept != 0).float())


def test_the_penalty_counts_active_units_with_the_gradient_of_the_paper():
    r"""Rajamanoharan et al. (2024): dH(z - theta) / d theta := -K((z - theta) / eps) / eps, K a rectangle, 0 for z."""
    torch.manual_seed(0)
    coder = ae.Dense(5, "relu", threshold=0.5)
    layer = ae.SparseAutoencoder((6,), coder, lam=2.0, penalty=ae.L0()).double()
    x = torch.rand(400, 6, dtype=torch.float64)
    z = torch.relu(layer.f.affine(x)).detach()
    with torch.no_grad():  # some values of every unit lie within the kernel, on either side of the threshold
        layer.f.activation[1].log_threshold.copy_((z[0] + 0.3 * BANDWIDTH).clamp(min=0.1).log())
    h, omega = layer.penalty.of_encoder(layer.f, x)
    theta = layer.f.activation[1].log_threshold.exp().detach()
    assert torch.equal(h, layer.f(x))
    assert omega.tolist() == [sum(value > t for value, t in zip(row, theta, strict=True)) for row in z]
    assert torch.equal(omega, layer.penalty(h).double())
    plain = ae.SparseAutoencoder((6,), coder, lam=0.0).double()
    plain.load_state_dict(layer.state_dict())
    for model in (layer, plain):
        model.energy(x).sum().backward()
    K = lambda u: 1.0 if abs(u) < 0.5 else 0.0  # noqa: E731
    expected = [sum(-K((row[i].item() - t.item()) / BANDWIDTH) / BANDWIDTH for row in z) for i, t in enumerate(theta)]
    assert any(expected)
    found = layer.f.activation[1].log_threshold.grad - plain.f.activation[1].log_threshold.grad
    torch.testing.assert_close(found / theta, 2.0 * torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(layer.f.affine.weight.grad, plain.f.affine.weight.grad)  # none through the pre-activations
    layer.eval()
    assert torch.equal(layer.penalty.of_encoder(layer.f, x)[1], omega)


def test_the_penalty_raises_thresholds_and_leaves_fewer_units_active():
    coder = ae.Dense(32, "relu", threshold=0.1, bandwidth=0.05, unit_norm=True)
    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.01)  # noqa: E731
    l0, thresholds = [], []
    for lam in (0.0, 0.3):

        def layer(s, lam=lam):
            return ae.SparseAutoencoder(s, coder, lam=lam, penalty=ae.L0(), optimizer=adam)

        stack = ae.GreedyStack((1, 8, 8), [layer]).fit(ae.Digits(), ae.Pretraining(6, 64), QUIET)
        l0.append(stack.results()[0].diagnostics["l0"])
        thresholds.append(stack.layers[0].f.activation[1].log_threshold.exp().mean().item())
    assert l0[1] < 0.9 * l0[0]
    assert thresholds[1] > 1.2 * thresholds[0]


def test_the_penalty_needs_thresholds():
    for coder in (ae.Dense(8, "relu"), ae.Dense(8, "relu", k=2), ae.Conv(2)):
        with pytest.raises(ValueError, match="L0 needs units with thresholds, but their activation is"):
            ae.SparseAutoencoder((1, 8, 8), coder, penalty=ae.L0())
    with pytest.raises(ValueError, match="L0 needs units with thresholds"):
        ae.RestrictedBoltzmannMachine((6,), ae.Dense(4), penalty=ae.L0())


def test_values_above_the_threshold_are_kept():
    h, jump = torch.tensor([[0.2, 0.25, -1.0, 0.31]]), JumpReLU(4, threshold=0.3)
    for module in (jump.train(), jump.eval()):
        assert module(h)[0].tolist() == [0.0, 0.0, 0.0, pytest.approx(0.31)]


def test_the_gradient_of_the_threshold_is_that_of_a_smoothed_jump():
    r"""The mean over many values of the estimate is the slope of the mean: -theta p(theta), p the density of values."""
    theta, density = 0.4, 0.5
    h = torch.linspace(-1, 1, 200_001, dtype=torch.float64).unsqueeze(1)  # uniform on [-1, 1]
    jump = JumpReLU(1, theta).double()
    jump(h).mean().backward()
    assert jump.log_threshold.grad.item() / theta == pytest.approx(-theta * density, rel=0.02)
    far = JumpReLU(1, theta).double()
    far(torch.tensor([[theta + BANDWIDTH], [theta - BANDWIDTH]])).sum().backward()
    assert far.log_threshold.grad.item() == 0


def test_the_gradient_of_the_input_is_that_of_what_is_kept():
    h = torch.tensor([[0.2, 0.8]], requires_grad=True)
    JumpReLU(2, 0.5)(h).sum().backward()
    assert h.grad.tolist() == [[0.0, 1.0]]


def test_options_of_the_coder_gate_what_its_activation_gives():
    x = torch.rand(5, 6)
    for options, gate in (({"k": 2}, TopK(2)), ({"threshold": 0.1}, JumpReLU(8, 0.1).eval())):
        f = ae.Dense(8, "relu", **options).build((6,)).encoder.eval()
        assert torch.equal(f(x), gate(torch.relu(f.affine(x))))
    assert ae.Dense(8, "relu", k=2).unsquashed() == ae.Dense(8, "relu", code_activation="linear")
    assert ae.Dense(8, "softplus", k=2).code_range == (0.0, float("inf"))


@pytest.mark.parametrize("unrolled", [0, 1])
def test_outgoing_weights_have_norm_one_after_every_update(unrolled):
    layer = lambda s: ae.SparseAutoencoder(s, ae.Dense(12, "relu", k=4, unit_norm=True, hidden=(9,)))  # noqa: E731
    stack = ae.GreedyStack((1, 8, 8), [layer])
    norms = lambda: stack.layers[0].g[0].weight.norm(dim=0)  # noqa: E731
    torch.testing.assert_close(norms(), torch.ones(12))
    before = stack.layers[0].g[0].weight.clone()
    stack.fit(ae.Digits(), ae.Pretraining(1, 64, unroll=unrolled), QUIET)
    assert not torch.equal(stack.layers[0].g[0].weight, before)
    torch.testing.assert_close(norms(), torch.ones(12))
    assert 0 < stack.results()[0].diagnostics["l0"] <= 4
    assert (stack.results()[-1].diagnostics["l0"] is not None) == stack.trained[-1].coder.is_sparse


def test_without_the_option_nothing_is_projected_or_counted():
    plain = ae.PlainAutoencoder((6,), ae.Dense(4))
    assert "l0" not in plain.validation_values(torch.rand(5, 6))
    assert unroll([plain]).coder.projection is None
    assert not plain.make_optimizer()._optimizer_step_post_hooks


def test_norms_are_kept_where_two_players_have_one_optimizer():
    layer = ae.AdversarialAutoencoder((6,), ae.Dense(4, unit_norm=True), discriminator=(5,))
    assert layer.make_optimizer()._optimizer_step_post_hooks


def test_thresholds_learn():
    coder = ae.Dense(12, "relu", threshold=0.2)
    layer = ae.SparseAutoencoder((1, 8, 8), coder, lam=0.1, optimizer=lambda p: SGD(p, lr=0.01))
    x = torch.rand(4000, 1, 8, 8)
    layer.energy(x).mean().backward()
    assert layer.f.activation[1].log_threshold.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must lie between 1 and features 8, but got 0"),
        ({"k": 9}, "k must lie between 1 and features 8, but got 9"),
        ({"threshold": 0.0}, "threshold must be > 0 and finite, but got 0.0"),
        ({"bandwidth": 0.0}, "bandwidth must be > 0 and finite, but got 0.0"),
        ({"bandwidth": 0.1}, "bandwidth 0.1 is that of a threshold, but threshold is None"),
        ({"k": 2, "threshold": 0.1}, "k 2 and threshold 0.1 both choose the active units"),
        ({"k": 2, "stochastic": True}, "a stochastic code is 0 or 1 by chance, but k or threshold is set"),
        ({"unit_norm": True, "tied": True}, "unit_norm is for a decoder with weights of its own, but tied is set"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ae.Dense(8, **options)


def test_seeds_are_trained_one_after_another():
    for options in ({"k": 2}, {"threshold": 0.1}, {"unit_norm": True}):
        layer = ae.PlainAutoencoder((6,), ae.Dense(4, **options))
        assert "are those of one seed" in reason_impossible(layer, QUIET)


@pytest.mark.parametrize("options", [{"k": 2}, {"threshold": 0.3, "bandwidth": 0.1}], ids=str)
def test_a_saved_encoder_has_its_thresholds(options, tmp_path):
    encoder = ae.GreedyStack((6,), [lambda s: ae.PlainAutoencoder(s, ae.Dense(8, "relu", **options))]).encoder.eval()
    again, x = ae.load_encoder(ae.save_encoder(encoder, tmp_path, in_shape=(6,))), torch.rand(5, 6)
    assert torch.equal(again(x), encoder(x))
    assert json.loads((tmp_path / "config.json").read_text())["code_shape"] == [8]
    gate = again.layers[0][-1]
    assert isinstance(gate, nn.Sequential)
    assert getattr(gate[1], "bandwidth", None) == options.get("bandwidth")  # fine-tuning goes on with it
