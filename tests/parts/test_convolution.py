"""The convolutional coder: exact shapes, adjoint decoders, initial weights, and what it refuses."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from aepretrain import Conv
from aepretrain.export.decoders import pack_decoders
from aepretrain.parts.convolution import TransposedConvolution
from aepretrain.parts.likelihoods import Gaussian


@settings(max_examples=60, deadline=None)
@given(
    positions=st.lists(st.integers(5, 14), min_size=1, max_size=2),
    below=st.integers(1, 3),
    kernel_size=st.integers(1, 6),
    stride=st.integers(1, 3),
    padding=st.none() | st.integers(0, 2),
    hidden=st.lists(st.integers(1, 2), max_size=1),
    features=st.none() | st.integers(1, 4),
    tied=st.booleans(),
)
def test_the_decoder_gives_the_shape_of_the_input_back_exactly(
    positions, below, kernel_size, stride, padding, hidden, features, tied
):
    options = {"padding": padding, "hidden": hidden, "features": features, "tied": tied}
    in_shape = (below, *positions)
    assume(stride <= kernel_size and (padding or 0) < kernel_size)
    coder = Conv(2, kernel_size, stride, **options)
    for _ in (*hidden, coder.channels):
        assume(all(n + 2 * coder.zeros >= kernel_size for n in positions))
        positions = [(n + 2 * coder.zeros - kernel_size) // stride + 1 for n in positions]
    parts = coder.build(in_shape)
    x = torch.randn(3, *in_shape)
    h = parts.encoder(x)
    assert h.shape == (3, *([features] if features else [2, *positions]))
    assert parts.code_shape == h.shape[1:]
    assert parts.decoder(h).shape == x.shape
    assert coder.narrowest(in_shape) <= h[0].numel()


@pytest.mark.parametrize("in_shape", [(2, 7), (2, 6, 9)])
def test_a_convolution_is_a_sum_over_channels_and_offsets(in_shape):
    parts = Conv(3, kernel_size=3, stride=2, activation="linear").build(in_shape)
    parts.affine.bias.data.normal_()
    W, b, x = parts.affine.weight, parts.affine.bias, torch.randn(1, *in_shape)
    padded = nn.functional.pad(x, [1, 1] * (len(in_shape) - 1))
    axes = "c" + "xy"[: len(in_shape) - 1]
    h = parts.encoder(x)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in h.shape[2:])).reshape(-1, h.ndim - 2).tolist():
        window = padded[(0, slice(None), *(slice(2 * p, 2 * p + 3) for p in place))]
        torch.testing.assert_close(h[(0, slice(None), *place)], torch.einsum(f"o{axes},{axes}->o", W, window) + b)


@pytest.mark.parametrize("in_shape", [(2, 8), (7,), (2, 6, 9)])
@pytest.mark.parametrize("features", [None, 5])
def test_a_tied_decoder_is_the_adjoint_of_the_encoder(in_shape, features):
    coder = Conv(3, kernel_size=4, stride=3, padding=2, activation="linear", tied=True, features=features)
    parts = coder.build(in_shape)
    f, g = parts.encoder.double(), parts.decoder.double()
    x, h = (torch.randn(1, *shape, dtype=torch.float64) for shape in (in_shape, parts.code_shape))
    torch.testing.assert_close((f(x) * h).sum(), (x * g(h)).sum())


def test_weights_of_a_tied_coder_are_one_parameter_and_are_saved_as_their_own():
    parts = Conv(3, hidden=(2,), tied=True).build((1, 9, 8))
    tied = [module for module in parts.decoder if isinstance(module, TransposedConvolution)]
    assert [module.weight for module in tied] == [parts.affine.weight, parts.body[0].weight]
    described, weights = pack_decoders([(parts.decoder, Gaussian())])
    assert weights is not None
    assert described["layers"][0]["architecture"]["modules"][0]["type"] == "ConvTranspose2d"
    h = torch.rand(2, *parts.code_shape)
    assert torch.equal(tied[0].untied()(h), tied[0](h))


def test_initial_weights_have_the_fan_in_of_the_kernel():
    parts = Conv(60, kernel_size=5, activation="relu", hidden=(40,)).build((3, 32, 32))
    for layer, gain in ((parts.body[0], math.sqrt(2)), (parts.affine, math.sqrt(2)), (parts.decoder[2], 1.0)):
        bound = gain * math.sqrt(6 / (25 * sum(layer.weight.shape[:2])))
        assert 0.98 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


def test_the_defaults_are_those_of_the_documentation():
    coder = Conv(4)
    assert (coder.kernel_size, coder.stride, coder.zeros, coder.activation) == (3, 2, 1, "sigmoid")
    assert coder.code_range == (0.0, 1.0)
    assert [Conv(4, kernel_size=k).zeros for k in (2, 3, 4, 5)] == [0, 1, 1, 2]
    assert coder.unsquashed() == Conv(4, code_activation="linear")
    assert coder.shapes((28,)) == [(1, 28), (4, 14)]
    assert coder.narrowest((1, 28, 28)) == 4 * 14 * 14
    assert Conv(4, hidden=(1,)).narrowest((1, 28, 28)) == 4 * 7 * 7
    assert Conv(4, features=7).narrowest((1, 28, 28)) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "at least 1 feature map, but got 0"),
        ({"channels": 4, "hidden": (0,)}, "at least 1 feature map, but got 0"),
        ({"channels": 4, "kernel_size": 0}, "kernel_size must be at least 1, but got 0"),
        ({"channels": 4, "stride": 4}, "stride must lie between 1 and kernel_size 3, but got 4"),
        ({"channels": 4, "stride": 0}, "stride must lie between 1 and kernel_size 3, but got 0"),
        ({"channels": 4, "padding": 3}, "padding must lie between 0 and kernel_size - 1 = 2, but got 3"),
        ({"channels": 4, "features": 0}, "features must be at least 1, but got 0"),
        ({"channels": 4, "activation": "swish"}, "activation must be one of .*, but got 'swish'"),
    ],
)
def test_a_number_outside_its_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Conv(**options)


@pytest.mark.parametrize(
    ("in_shape", "message"),
    [
        ((1, 2, 8, 8), r"Conv takes inputs of shape .* but got \(1, 2, 8, 8\)"),
        ((1, 28, 1), "kernel_size 5 is larger than a map of 28 x 1 with padding 0"),
    ],
)
def test_inputs_that_do_not_fit_the_kernels_are_refused(in_shape, message):
    with pytest.raises(ValueError, match=message):
        Conv(4, kernel_size=5, padding=0).build(in_shape)
