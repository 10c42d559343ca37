import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aepretrain import Dense
from aepretrain.parts.coders import ACTIVATIONS, flatten_encoder


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


def test_initial_weights_of_a_sigmoid_layer_are_uniform_as_in_the_tutorials():
    affine = Dense(300).build((200,)).affine
    bound = 4 * math.sqrt(6 / (200 + 300))
    assert affine.weight.abs().max() <= bound
    assert affine.weight.abs().max() > 0.99 * bound
    assert not affine.bias.any()


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
