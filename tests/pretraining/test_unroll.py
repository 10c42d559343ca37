"""All layers as one autoencoder: the mathematics, the training, the run, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import xlogy
from sklearn.decomposition import PCA
from torch import nn

import aepretrain as ae
from aepretrain.cli.main import main
from aepretrain.evaluation.pca import pca_errors
from aepretrain.export.outliers import ValidationErrors
from aepretrain.pretraining.unroll import unroll
from aepretrain.report.reconstructions import whole_section
from aepretrain.results.run import RunResult
from tests.support.variants import make

QUIET = ae.RunContext(progress=False)


def stack_of(*variants, coder=ae.Dense(5)):
    layers = [lambda s, name=name: make(name, s, coder, likelihood=ae.Bernoulli()) for name in variants]
    return ae.GreedyStack((1, 8, 8), layers)


def test_the_energy_is_that_of_the_first_likelihood_through_all_layers():
    first = ae.PlainAutoencoder((6,), ae.Dense(4), likelihood=ae.Bernoulli())
    second = ae.VariationalAutoencoder((4,), ae.Dense(2, hidden=(3,)), likelihood=ae.Bernoulli())
    deep, x = unroll([first, second]).double(), torch.rand(5, 6, dtype=torch.float64)
    h = second.f(first.f(x))
    assert torch.equal(deep.encode(x), h)
    y = first.g(torch.sigmoid(second.g(h)))
    expected = nn.functional.binary_cross_entropy_with_logits(y, x, reduction="none").sum(dim=1)
    torch.testing.assert_close(deep.energy(x), expected)
    torch.testing.assert_close(deep.reconstruct(x), first.decode(second.decode(h)))
    deep.energy(x).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in deep.parameters())
    assert deep.code_range == second.code_range
    assert deep.narrowest == 2


def test_machines_are_unrolled_as_in_the_original():
    machines = [
        lambda s: ae.RestrictedBoltzmannMachine(s, ae.Dense(5)),
        lambda s: ae.RestrictedBoltzmannMachine(s, ae.Dense(3)),
    ]
    stack, x = ae.GreedyStack((6,), machines), torch.rand(4, 6)
    torch.testing.assert_close(unroll(list(stack)).reconstruct(x), stack.reconstruct(x))


@pytest.mark.parametrize("coder", [ae.Dense(5), ae.Dense(5, tied=True), ae.Conv(2, tied=True)], ids=repr)
def test_it_shares_the_weights_of_the_layers(coder):
    stack, x = stack_of("plain", "denoising-swap", coder=coder), torch.rand(7, 1, 8, 8)
    deep = unroll(list(stack))
    before = stack.reconstruct(x)
    assert torch.equal(deep.reconstruct(x), before)
    with torch.no_grad():
        for parameter in deep.parameters():
            parameter += 0.1
    assert not torch.equal(stack.reconstruct(x), before)
    assert torch.equal(deep.reconstruct(x), stack.reconstruct(x))


class NoDecoder(ae.Layer):
    loss = validation_values = encode = None
    encoder = nn.Sequential()

    def __init__(self):
        super().__init__((6,), torch.optim.Adam)


def test_a_layer_without_a_decoder_is_named():
    with pytest.raises(ae.ConfigError, match="needs layers with a decoder, but layer 1 is a NoDecoder"):
        unroll([make("plain"), NoDecoder()])


def test_layers_are_trained_together_after_each_by_itself():
    data = ae.Digits()
    greedy = stack_of("plain", "sparse").fit(data, ae.Pretraining(1, 64), QUIET)
    whole = stack_of("plain", "sparse").fit(data, ae.Pretraining(1, 64, unroll=3), QUIET)
    assert [record.stage for record in whole.records] == ["00-plain", "01-sparse", "unrolled"]
    assert greedy.records[0].metrics["val/loss"] == whole.records[0].metrics["val/loss"]
    x = data.splits().validation.x
    losses = [unroll(list(stack)).energy(x).mean().item() for stack in (greedy, whole)]
    assert losses[1] < losses[0]
    assert losses[1] == pytest.approx(whole.records[-1].metrics["val/reconstruction"], rel=1e-5)
    assert whole.results()[-1].code_shape == (5,)
    again = whole.fit(data, ae.Pretraining(1, 64), QUIET)  # begins anew, without
    assert len(again.records) == 2
    assert all(torch.equal(one, two) for one, two in zip(again.parameters(), greedy.parameters(), strict=True))


def test_no_epochs_of_the_layers_are_the_network_from_random_weights():
    stack = stack_of("plain", "plain").fit(ae.Digits(), ae.Pretraining(0, 64, unroll=1), QUIET)
    assert [record.epochs for record in stack.records] == [0, 0, 1]
    assert stack.findings(0) == stack.findings(1) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unroll": -1}, "pretrain.unroll must be >= 0, but got -1"),
        ({"unroll": 2, "freeze_layers": 1}, "pretrain.unroll trains all layers, but pretrain.freeze_layers 1 keeps"),
    ],
)
def test_lengths_that_contradict_are_refused(options, message):
    with pytest.raises(ae.ConfigError, match=message):
        ae.Pretraining(**options)


def test_the_errors_of_principal_components_are_those_of_scikit_learn():
    train, x = torch.rand(40, 2, 3), torch.rand(9, 2, 3)
    pca = PCA(4).fit(train.flatten(1).double().numpy())
    flat = x.flatten(1).double().numpy()
    expected = np.square(flat - pca.inverse_transform(pca.transform(flat))).sum(axis=1)
    (found,) = pca_errors(train, [x], 4, ae.Gaussian())
    np.testing.assert_allclose(found.squared_error, expected)
    np.testing.assert_allclose(found.nats, expected / 2)
    (found,) = pca_errors(train, [x], 99, ae.Bernoulli())
    np.testing.assert_allclose(found.squared_error, 0, atol=1e-12)
    np.testing.assert_allclose(found.nats, -(xlogy(flat, flat) + xlogy(1 - flat, 1 - flat)).sum(axis=1))


CONFIG = """
data: {class_path: Digits, init_args: {labels: 100}}
layers:
  - class_path: PlainAutoencoder
    init_args: {coder: {class_path: Dense, init_args: {features: 20}}, likelihood: Bernoulli}
  - class_path: PlainAutoencoder
    init_args: {coder: {class_path: Dense, init_args: {features: 6}}, likelihood: Bernoulli}
pretrain: {epochs: 1, batch_size: 64, unroll: 2}
finetune: {epochs: 1, batch_size: 50}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unrolled")
    (folder / "deep.yaml").write_text(CONFIG)
    assert main(["fit", "--config", str(folder / "deep.yaml"), "--out", str(folder / "run"), "--report", "false"]) == 0
    return folder / "run"


@torch.no_grad()
def test_a_run_measures_the_reconstruction_beside_principal_components(run):
    results = json.loads((run / "results.json").read_text())
    found = results["reconstruction"]
    test = ae.Digits().splits().test.x
    autoencoder = ae.load_autoencoder(run / "encoder")
    again = autoencoder.likelihood.mean(autoencoder.outputs(autoencoder.encoder.code(test)))
    error = (test - again).square().flatten(1).sum(dim=1).mean().item()
    assert found["test"]["squared_error"] == pytest.approx(error, rel=1e-5)
    assert found["test"]["nats"] == pytest.approx(results_nats(autoencoder, test), rel=1e-5)
    assert found["test"]["pca_squared_error"] == pytest.approx(
        pca_errors(ae.Digits().splits().unlabelled, [test], 6, ae.Bernoulli())[0].squared_error.mean(), rel=1e-6
    )
    assert found["test"]["pca_nats"] > 0
    assert found["components"] == 6
    assert isinstance(autoencoder.validation_errors, ValidationErrors)
    assert [stage["stage"] for stage in results["stages"]] == ["00-plain", "01-plain", "unrolled"]
    assert results["classifier"]["weights_arrived"]


def results_nats(autoencoder, x):
    return autoencoder.likelihood(x, autoencoder.outputs(autoencoder.encoder.code(x))).double().mean().item()


def test_the_report_shows_the_whole(run):
    results = RunResult.read(run / "results.json")
    (found,) = whole_section(run, results)
    assert "All layers trained together" in found
    assert "squared error of PCA, 6 components" in found
    assert "12 validation images of all layers, reconstructed" in found
    assert whole_section(run, replace(results, reconstruction=None)) == []


def test_a_run_that_stopped_after_the_layers_goes_on_to_the_same_bits(run, tmp_path, monkeypatch):
    words = ["fit", "--config", str(run.parent / "deep.yaml"), "--out", str(tmp_path / "run"), "--report", "false"]
    with monkeypatch.context() as patch:
        patch.setattr("aepretrain.pretraining.stack.unroll", None)
        assert main(words) == 1
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 0
    weights = [path / "encoder" / "encoder.safetensors" for path in (run, tmp_path / "run")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_warm_start_from_it_is_refused(run, tmp_path, capsys):
    words = ["--config", str(run.parent / "deep.yaml"), "--out", str(tmp_path / "run"), "--warm_start", str(run)]
    assert main(["fit", *words]) == 2
    assert "were trained together by pretrain.unroll" in " ".join(capsys.readouterr().err.split())
