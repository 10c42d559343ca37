import hashlib

import pytest
import torch

from aepretrain.parts.noise import Noise, derive_seed

DRAWS = {
    "uniform": lambda noise, x: noise.uniform_like(x),
    "normal": lambda noise, x: noise.normal_like(x),
    "signs": lambda noise, x: noise.signs_like(x),
    "other": lambda noise, x: noise.other_examples(x),
}


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_drawn_is_a_function_of_the_seed_and_leaves_the_global_generator_alone(name):
    noise, x, before = Noise(torch.Generator()), torch.rand(50, 2, 3, dtype=torch.float64), torch.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        noise.manual_seed(seed)
        draws.append(DRAWS[name](noise, x))
    assert draws[0].shape == x.shape
    assert draws[0].dtype == (torch.int64 if name == "other" else x.dtype)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", DRAWS)
def test_without_a_generator_numbers_come_from_the_global_one(name):
    noise, x = Noise(), torch.rand(50, 6)
    assert noise.generators == []
    torch.manual_seed(3)
    drawn = DRAWS[name](noise, x)
    noise.manual_seed(3)
    assert torch.equal(DRAWS[name](noise, x), drawn)
    assert torch.equal(DRAWS[name](Noise(torch.Generator().manual_seed(3)), x), drawn)


def test_signs_are_fair_coins_and_uniform_numbers_have_the_type_that_is_asked_for():
    signs = Noise().signs_like(torch.zeros(100_000))
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert signs.mean().abs().item() < 0.02
    assert Noise().uniform_like(torch.zeros(2).bfloat16(), dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("count", [2, 3, 50])
def test_another_example_is_never_ones_own(count):
    others = Noise().other_examples(torch.zeros(count, 2000))
    assert (others != torch.arange(count).unsqueeze(1)).all()
    assert set(others[0].tolist()) == set(range(1, count))
    assert (others[-1] < count).all()


def test_a_generator_is_in_use_where_one_was_given():
    generator = torch.Generator()
    assert Noise(generator).generators == [generator]


def test_the_only_example_has_no_other():
    assert not Noise().other_examples(torch.zeros(1, 4, 2)).any()


def test_derived_seeds_never_change_are_not_negative_and_hang_on_every_part_of_their_key():
    """Files of earlier versions are resumed with the noise and the orders that these seeds give."""
    by_hand = int.from_bytes(hashlib.blake2b(b"(7, '00-denoising', 1, 2, 0)", digest_size=8).digest(), "big") // 2
    assert derive_seed(7, "00-denoising", 1, 2, 0) == by_hand
    keys = [
        (seed, stage, epoch, step) for seed in range(4) for stage in "ab" for epoch in range(4) for step in range(4)
    ]
    seeds = [derive_seed(*key) for key in [*keys, (0,), ("0",), (0, 0), (0, "0")]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_bernoulli_draws_ones_with_the_probabilities_given_and_none_where_they_are_nan():
    noise = Noise(torch.Generator().manual_seed(0))
    p = torch.tensor([0.0, 0.25, 1.0, float("nan")]).expand(4000, 4)
    drawn = noise.bernoulli(p)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(dim=0), torch.tensor([0.0, 0.25, 1.0, 0.0]), atol=0.03, rtol=0)
    assert noise.bernoulli(p.bfloat16()).dtype == torch.bfloat16
    again = Noise(torch.Generator().manual_seed(0))
    assert torch.equal(again.bernoulli(p), drawn)
