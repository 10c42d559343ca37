import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from aepretrain import Dense
from aepretrain.parts.coders import ACTIVATIONS


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
    f, g, code_shape = coder.build(in_shape)
    x = 10 * torch.randn(3, *in_shape)
    h = f(x)
    assert h.shape == (3, *code_shape) == (3, features)
    assert g(h).shape == x.shape
    low, high = coder.code_range
    assert (h >= low).all()
    assert (h <= high).all()


def test_dense_is_the_textbook_equation():
    f, g, _ = Dense(3).build((4,))
    x = torch.rand(5, 4)
    W, b, V, c = f[0].weight, f[0].bias, g[0].weight, g[0].bias
    h = torch.sigmoid(x @ W.T + b)
    torch.testing.assert_close(f(x), h)
    torch.testing.assert_close(g(h), h @ V.T + c)


def test_tied_decoder_uses_the_transposed_weights():
    f, g, _ = Dense(3, tied=True, hidden=(5,), activation="tanh").build((4,))
    h = torch.rand(2, 3)
    expected = torch.tanh(h @ f[2].weight + g[0].bias) @ f[0].weight + g[2].bias
    torch.testing.assert_close(g(h), expected)


def test_hidden_layers_are_mirrored():
    f, g, _ = Dense(2, hidden=(7, 5)).build((9,))
    shapes = [tuple(m.weight.shape) for m in itertools.chain(f, g) if isinstance(m, nn.Linear)]
    assert shapes == [(7, 9), (5, 7), (2, 5), (5, 2), (7, 5), (9, 7)]


def test_initial_weights_of_a_sigmoid_layer_are_uniform_as_in_the_tutorials():
    f, _, _ = Dense(300).build((200,))
    bound = 4 * math.sqrt(6 / (200 + 300))
    assert f[0].weight.abs().max() <= bound
    assert f[0].weight.abs().max() > 0.99 * bound
    assert not f[0].bias.any()


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
