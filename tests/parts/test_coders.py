import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aepretrain import Dense
from aepretrain.parts.activations import ACTIVATIONS
from aepretrain.parts.coders import flatten_encoder


@settings(max_examples=40, deadline=None)
@given(
    in_shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    features=st.integers(1, 6),
    hidden=st.lists(st.integers(1, 5), max_size=2),
    tied=st.booleans(),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
)
def test_decoder_undoes_the_shape_of_the_encoder_and_codes_lie_in_their_range(
    in_shape, features, hidden, tied, activation
):
    coder = Dense(features, activation, tied=tied, hidden=hidden)
    parts = coder.build(in_shape)
    f, g, code_shape = parts.encoder, parts.decoder, parts.code_shape
    x = 10 * torch.randn(3, *in_shape)
    h = f(x)
    assert h.shape == (3, *code_shape) == (3, features)
    assert g(h).shape == x.shape
    low, high = coder.code_range
    assert (h >= low).all()
    assert (h <= high).all()


def test_dense_is_the_textbook_equation():
    parts = Dense(3).build((4,))
    g, x = parts.decoder, torch.rand(5, 4)
    W, b, V, c = parts.affine.weight, parts.affine.bias, g[0].weight, g[0].bias
    h = torch.sigmoid(x @ W.T + b)
    torch.testing.assert_close(parts.encoder(x), h)
    torch.testing.assert_close(g(h), h @ V.T + c)


def test_tied_decoder_uses_the_transposed_weights():
    parts = Dense(3, tied=True, hidden=(5,), activation="tanh").build((4,))
    g, h = parts.decoder, torch.rand(2, 3)
    expected = torch.tanh(h @ parts.affine.weight + g[0].bias) @ parts.body[0].weight + g[2].bias
    torch.testing.assert_close(g(h), expected)


def test_hidden_layers_are_mirrored():
    parts = Dense(2, hidden=(7, 5)).build((9,))
    modules = itertools.chain(flatten_encoder(parts.encoder), parts.decoder)
    shapes = [tuple(m.weight.shape) for m in modules if isinstance(m, nn.Linear)]
    assert shapes == [(7, 9), (5, 7), (2, 5), (5, 2), (7, 5), (9, 7)]


# Glorot and Bengio (2010), He et al. (2015): see the module.
GAINS = {"sigmoid": 4.0, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2), "silu": math.sqrt(2), "gelu": math.sqrt(2)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_initial_weights_are_uniform_with_the_gain_of_the_activation_that_follows(activation):
    parts = Dense(300, activation, hidden=(250,), code_activation="tanh").build((200,))
    gain = GAINS.get(activation, 1.0)
    layers = [(parts.body[0], gain), (parts.affine, 1.0), (parts.decoder[0], gain), (parts.decoder[2], 1.0)]
    for layer, own in layers:
        bound = own * math.sqrt(6 / sum(layer.weight.shape))
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert not layer.bias.any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_range_of_a_code_is_that_of_its_activation_function(activation):
    low, high = Dense(3, "linear", code_activation=activation).code_range
    values = ACTIVATIONS[activation].module()(torch.linspace(-1e3, 1e3, 400_001, dtype=torch.float64))
    for bound, end in ((low, values.min().item()), (high, values.max().item())):
        assert bound == pytest.approx(end, abs=0.002) if math.isfinite(bound) else abs(end) >= 10
    assert low <= values.min()
    assert high >= values.max()


def test_the_narrowest_layer_may_be_hidden():
    assert Dense(5).narrowest((9,)) == 5
    assert Dense(5, hidden=(7, 3)).narrowest((9,)) == 3
    assert Dense(2, hidden=(7, 3)).narrowest((9,)) == 2


def test_a_code_that_is_unsquashed_is_the_affine_map_and_keeps_the_rest():
    coder = Dense(5, "relu", tied=True, hidden=(7,), code_activation="sigmoid").unsquashed()
    assert coder == Dense(5, "relu", tied=True, hidden=(7,), code_activation="linear")
    assert coder.code_range == (-math.inf, math.inf)


def test_the_defaults_are_those_of_the_documentation_and_one_unit_is_enough():
    assert Dense(1) == Dense(features=1, activation="sigmoid", tied=False, hidden=(), code_activation=None)
    assert Dense(2, hidden=[1]).build((1,)).code_shape == (2,)
    assert Dense(2, hidden=[1]) == Dense(2, hidden=(1,))
    assert type(Dense(2, "relu").build((3,)).activation) is nn.ReLU


@pytest.mark.parametrize("in_shape", [(6,), (2, 3), (1, 2, 3)])
def test_images_are_flattened_and_given_back_and_rows_are_left_as_they_are(in_shape):
    parts, x = Dense(4, "tanh", hidden=(5,)).build(in_shape), torch.rand(3, *in_shape)
    ends = isinstance(parts.body[0], nn.Flatten), isinstance(parts.decoder[-1], nn.Unflatten)
    assert ends == (len(in_shape) > 1, len(in_shape) > 1)
    first, second = next(module for module in parts.body if isinstance(module, nn.Linear)), parts.affine
    h = torch.tanh(second(torch.tanh(first(x.reshape(3, 6)))))
    torch.testing.assert_close(parts.encoder(x), h)
    up, down = [module for module in parts.decoder if isinstance(module, nn.Linear)]
    torch.testing.assert_close(parts.decoder(h), down(torch.tanh(up(h))).reshape(x.shape))


def test_a_flat_encoder_has_the_same_modules_in_the_same_order():
    f = Dense(2, hidden=(7, 5)).build((3, 3)).encoder
    flat, x = flatten_encoder(f), torch.rand(4, 3, 3)
    assert torch.equal(flat(x), f(x))
    assert list(flat.state_dict()) == ["1.weight", "1.bias", "3.weight", "3.bias", "5.weight", "5.bias"]
    assert flat[5] is f.affine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": 0}, "at least 1 unit, but got 0"),
        ({"features": 3, "hidden": (4, -1)}, "but got -1"),
        ({"features": 3, "activation": "sigmod"}, "but got 'sigmod'"),
        ({"features": 3, "code_activation": "x"}, "but got 'x'"),
    ],
)
def test_bad_widths_and_activations_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Dense(**arguments)
