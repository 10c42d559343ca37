"""A coder with convolutions goes wherever a dense one goes: every variant, a stack, a classifier, a folder."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from aepretrain import (
    Classifier,
    Conv,
    Digits,
    FineTuning,
    GreedyStack,
    PlainAutoencoder,
    Pretraining,
    RunContext,
    VariationalAutoencoder,
    finetune,
    load_encoder,
    save_encoder,
)
from aepretrain.ensembles.train import reason_impossible
from aepretrain.heads.base import code_width
from aepretrain.parts.contraction import contraction
from aepretrain.parts.noise import Noise
from aepretrain.runs.artifacts import save_samples
from aepretrain.training.options import StageSettings
from aepretrain.training.stage import train_stage
from tests.parts.test_contraction import jacobian_norm, projected
from tests.support.variants import VARIANTS, make

IMAGE = (1, 6, 8)
CODERS = {
    "maps": (Conv(2), (2, 3, 4)),
    "deep": (Conv(2, hidden=(3,), stride=1, tied=True), (2, 6, 8)),
    "dense": (Conv(2, features=5), (5,)),
}
QUIET = RunContext(progress=False)


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", VARIANTS)
def test_energy_is_one_value_per_example_and_its_gradient_reaches_every_parameter(name, coder):
    coder, code_shape = CODERS[coder]
    model, x = make(name, IMAGE, coder).double(), torch.rand(5, *IMAGE, dtype=torch.float64)
    assert model.encode(x).shape == (5, *code_shape)
    assert model.reconstruct(x).shape == x.shape
    energy = model.energy(x)
    assert energy.shape == (5,)
    energy.sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_and_its_loss_falls(name, coder):
    model = make(name, IMAGE, CODERS[coder][0], optimizer=lambda p: torch.optim.Adam(p, lr=0.01))
    x = torch.rand(64, *IMAGE)
    record = train_stage(model, [x], [x], StageSettings("00-x", epochs=3, batch_size=16), QUIET)
    assert record.history[-1]["train/loss"] < record.history[0]["train/loss"]
    assert 0 <= record.metrics["val/dead_units"] <= np.prod(model.code_shape)


@pytest.mark.parametrize("coder", CODERS)
def test_the_contraction_is_the_norm_of_the_autograd_jacobian(coder):
    f = CODERS[coder][0].build(IMAGE).encoder.double()
    x = torch.rand(4, *IMAGE, dtype=torch.float64)
    torch.testing.assert_close(contraction(f, x), jacobian_norm(f, x))


@pytest.mark.parametrize("coder", ["deep", "dense"])
def test_random_projections_are_derivatives_along_the_drawn_signs(coder):
    f, x = CODERS[coder][0].build(IMAGE).encoder.double(), torch.rand(4, *IMAGE, dtype=torch.float64)
    found = contraction(f, x, projections=2, noise=Noise(torch.Generator().manual_seed(0)))
    torch.testing.assert_close(found, projected(f, x, 2, Noise(torch.Generator().manual_seed(0))))


@pytest.mark.parametrize("coder", CODERS)
def test_every_posterior_begins_with_variance_one(coder):
    coder, code_shape = CODERS[coder]
    model, x = VariationalAutoencoder(IMAGE, coder), torch.rand(5, *IMAGE)
    mean, log_var = model.posterior(x)
    assert type(model.log_var) is type(model.f.affine)
    assert mean.shape == log_var.shape == (5, *code_shape)
    assert not log_var.any()
    assert torch.equal(mean, model.encode(x))
    torch.testing.assert_close(model.diagnostics(x)["kl"], 0.5 * mean.square().flatten(1).sum(dim=1))


def test_the_narrowest_layer_counts_all_values_of_a_feature_map():
    assert not PlainAutoencoder(IMAGE, Conv(4)).can_copy
    assert PlainAutoencoder(IMAGE, Conv(5)).can_copy
    assert not PlainAutoencoder(IMAGE, Conv(5, stride=1, hidden=(1,))).can_copy
    assert not PlainAutoencoder(IMAGE, Conv(5, features=9)).can_copy


def two_layers(top=None):
    layers = [lambda s: make("denoising-swap", s, Conv(4)), lambda s: make("sparse", s, top or Conv(6))]
    return GreedyStack(Digits.in_shape, layers)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained stack of two layers, and its run directory, in which the codes of the first one lay in a file."""
    out = tmp_path_factory.mktemp("run")
    data = Digits()
    data.memory_limit = 0
    context = RunContext(progress=False, out=out)
    end = lambda layer, record, x: save_samples(context, layer, record, x)  # noqa: E731
    return two_layers().fit(data, Pretraining(epochs=1, batch_size=64), context, on_stage_end=end), out


def test_a_stack_trains_layer_by_layer_and_leaves_pictures(trained):
    stack, out = trained
    assert stack.code_shape == (6, 2, 2)
    assert [record.epochs for record in stack.records] == [1, 1]
    assert list(stack.encoder.state_dict())[::2] == ["0.0.weight", "1.0.weight"]
    with np.load(out / "stages" / "00-denoising" / "samples.npz") as samples:
        assert samples["filters"].shape == (4, 1, 3, 3)
        assert samples["codes"].shape == (300, 4 * 4 * 4)


@pytest.mark.parametrize("top", [Conv(6), Conv(6, features=7)], ids=["maps", "dense"])
def test_a_saved_encoder_gives_the_same_codes_bit_for_bit(top, tmp_path):
    encoder, x = two_layers(top).encoder, torch.rand(5, 1, 8, 8)
    again = load_encoder(save_encoder(encoder, tmp_path, in_shape=(1, 8, 8)))
    assert torch.equal(again(x), encoder(x))
    assert str(again.layers) == str(encoder)
    assert json.loads((tmp_path / "config.json").read_text())["code_shape"] == list(encoder(x).shape[1:])


def test_a_classifier_takes_the_flattened_code(trained, tmp_path):
    stack, _ = trained
    loaded = load_encoder(save_encoder(stack.encoder, tmp_path, in_shape=(1, 8, 8))).layers
    for encoder in (stack.encoder, loaded):
        classifier = Classifier(encoder, 10)
        assert classifier.head.in_features == 6 * 2 * 2
        tuned = finetune(classifier, Digits(), FineTuning(1, 32), QUIET, pretrained=stack.encoder)
        assert tuned.weights_arrived
        assert classifier(torch.rand(3, 1, 8, 8)).shape == (3, 10)


def test_the_width_of_a_code_is_not_guessed():
    maps = nn.Sequential(nn.Linear(8, 8), nn.Conv2d(1, 3, 3))
    with pytest.raises(ValueError, match="Give code_features"):
        code_width(maps)
    assert code_width(nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5))) == 5


def test_many_seeds_of_convolutions_are_trained_one_after_another():
    layer = PlainAutoencoder(IMAGE, Conv(2))
    assert "Conv has convolutions, and only linear layers are" in reason_impossible(layer, RunContext())
    classifier = Classifier(two_layers().encoder, 10)
    assert "Conv2d has weights, and only linear layers are" in reason_impossible(classifier, RunContext())
