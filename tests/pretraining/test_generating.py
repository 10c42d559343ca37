import math

import pytest
import torch
from scipy.stats import norm

from aepretrain import (
    AdversarialAutoencoder,
    Bernoulli,
    ConfigError,
    DenoisingAutoencoder,
    Dense,
    Gaussian,
    GreedyStack,
    Masking,
    PlainAutoencoder,
    RestrictedBoltzmannMachine,
    VariationalAutoencoder,
)
from aepretrain.parts.noise import Noise
from aepretrain.pretraining.generating import draw_codes, interpolate, manifold_codes, starts_from_rows


def noise(seed=0):
    return Noise(torch.Generator().manual_seed(seed))


def stack_of(*layers):
    return GreedyStack((6,), layers).eval()


def plain(shape):
    return PlainAutoencoder(shape, Dense(4))


def denoising(shape, likelihood=Bernoulli()):
    return DenoisingAutoencoder(shape, Dense(4), corruption=Masking(0.5), likelihood=likelihood)


def variational(shape):
    return VariationalAutoencoder(shape, Dense(2))


@pytest.mark.parametrize("variant", [VariationalAutoencoder, AdversarialAutoencoder])
def test_a_prior_is_drawn_from_as_a_standard_normal(variant):
    stack = stack_of(plain, lambda shape: variant(shape, Dense(2)))
    assert not starts_from_rows(stack)
    h = draw_codes(stack, 20_000, noise())
    assert h.shape == (20_000, 2)
    torch.testing.assert_close(h.mean(dim=0), torch.zeros(2), rtol=0, atol=5 / math.sqrt(20_000))
    torch.testing.assert_close(h.var(dim=0), torch.ones(2), rtol=0.05, atol=0)
    assert torch.equal(draw_codes(stack, 20_000, noise()), h)


def test_the_denoising_walk_corrupts_encodes_and_draws_again_and_again():
    stack, x = stack_of(denoising, plain), torch.rand(3, 6)
    assert starts_from_rows(stack)
    found = draw_codes(stack, 5, noise(1), x=x, steps=3)
    source = noise(1)
    first, second = stack
    x = x[[0, 1, 2, 0, 1]]
    for _ in range(3):
        h = second.encode(first.encode(Masking(0.5)(x, source)))
        x = Bernoulli().sample(first.g(second.decode(h)), source)
    assert torch.equal(found, h)
    assert set(x.unique().tolist()) <= {0.0, 1.0}


def test_the_walk_of_a_gaussian_layer_passes_on_the_expected_input():
    stack, x = stack_of(lambda shape: denoising(shape, Gaussian())), torch.rand(4, 6)
    found = draw_codes(stack, 4, noise(1), x=x, steps=2)
    source, (layer,) = noise(1), stack
    for _ in range(2):
        h = layer.encode(Masking(0.5)(x, source))
        x = layer.decode(h)
    assert torch.equal(found, h)


def test_a_chain_of_the_last_layer_starts_from_the_codes_below():
    stack, x = stack_of(denoising, lambda shape: RestrictedBoltzmannMachine(shape, Dense(3))), torch.rand(2, 6)
    first, machine = stack
    found = draw_codes(stack, 2, noise(1), x=x, steps=7)
    machine.noise = noise(1)
    assert torch.equal(found, machine.encode(machine.gibbs(first.encode(x), 7)))


def test_a_stack_without_a_way_to_new_codes_is_refused():
    stack = stack_of(plain, plain)
    with pytest.raises(ConfigError, match=r"but the stack is 00-plain, 01-plain. Take --reconstruct"):
        draw_codes(stack, 2, noise())
    with pytest.raises(ConfigError, match=r"the last layer is 01-plain. Train a VariationalAutoencoder"):
        manifold_codes(stack, 3)
    with pytest.raises(ConfigError, match=r"that of the run has 3. Train a last layer with features 2"):
        manifold_codes(stack_of(lambda shape: VariationalAutoencoder(shape, Dense(3))), 3)


def test_the_manifold_lies_at_the_quantiles_of_the_normal_distribution():
    codes = manifold_codes(stack_of(variational), 4).reshape(4, 4, 2)
    expected = torch.tensor(norm.ppf([0.125, 0.375, 0.625, 0.875]), dtype=torch.float32)
    for k in range(4):
        torch.testing.assert_close(codes[k, :, 0], expected)
        torch.testing.assert_close(codes[:, k, 1], expected.flip(0))


def test_codes_between_two_lie_on_a_line_with_both_ends():
    h, other = torch.rand(2, 3, 2)
    found = interpolate(h, other, 5)
    assert torch.equal(found[0], h)
    assert torch.equal(found[-1], other)
    torch.testing.assert_close(found[1], 0.75 * h + 0.25 * other)
