"""The parts of many seeds at once are those of each seed alone."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from aepretrain import Binarization, Dropout, GaussianNoise, Masking, SaltAndPepper, SwapNoise
from aepretrain.ensembles.linear import SeedLinear
from aepretrain.ensembles.noise import EnsembleNoise
from aepretrain.parts.contraction import contraction
from aepretrain.parts.noise import Noise
from aepretrain.parts.norms import clip_norms_
from tests.parts.test_noise import DRAWS

SEEDS = (0, 1, 7)


def generators():
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


@pytest.mark.parametrize("name", DRAWS)
def test_each_seed_draws_for_its_share_what_it_would_draw_alone(name):
    x = torch.rand(3 * 5, 2, 3)
    noise, alone = EnsembleNoise(generators()), [Noise(generator) for generator in generators()]
    for _ in range(2):
        expected = [DRAWS[name](own, share) for own, share in zip(alone, x.split(5), strict=True)]
        if name == "other":
            expected = [rows + 5 * place for place, rows in enumerate(expected)]
        assert torch.equal(DRAWS[name](noise, x), torch.cat(expected))


@pytest.mark.parametrize(
    "corruption", [Binarization(), Masking(), GaussianNoise(), SaltAndPepper(), SwapNoise(0.5), Dropout()]
)
def test_each_seed_is_damaged_as_it_would_be_alone(corruption):
    x = torch.rand(3 * 5, 6)
    damaged = corruption(x, EnsembleNoise(generators()))
    shares = zip(x.split(5), generators(), strict=True)
    assert torch.equal(damaged, torch.cat([corruption(share, Noise(generator)) for share, generator in shares]))


def test_a_new_seed_gives_each_generator_a_seed_of_its_own():
    noise, x = EnsembleNoise(generators()), torch.zeros(6, 4)
    noise.manual_seed(0)
    first = noise.uniform_like(x)
    noise.manual_seed(0)
    assert torch.equal(noise.uniform_like(x), first)
    assert not torch.equal(first[:2], first[2:4])
    assert len(noise.generators) == 3


@pytest.mark.parametrize("name", DRAWS)
def test_rows_that_cannot_be_shared_equally_are_refused(name):
    with pytest.raises(ValueError, match="7 rows cannot be shared equally by 3 generators"):
        DRAWS[name](EnsembleNoise(generators()), torch.zeros(7, 4))


@pytest.mark.parametrize("activation", [nn.Sigmoid(), nn.GELU()])
def test_the_contraction_of_many_seeds_is_that_of_each_in_closed_form(activation):
    maps, x = [nn.Linear(6, 4).double() for _ in SEEDS], torch.rand(3 * 5, 6, dtype=torch.float64)
    parts = {"body": nn.Sequential(), "affine": SeedLinear(maps), "activation": activation}
    found = contraction(nn.Sequential(OrderedDict(parts)), x)
    alone = [contraction(nn.Sequential(own, activation), share) for own, share in zip(maps, x.split(5), strict=True)]
    torch.testing.assert_close(found, torch.cat(alone))


def test_the_norms_of_each_seed_are_bounded_by_themselves():
    maps = [nn.Linear(6, 4) for _ in SEEDS]
    batched = SeedLinear(maps)
    clip_norms_(batched, 0.3)
    for own in maps:
        clip_norms_(own, 0.3)
    torch.testing.assert_close(batched.weight, torch.stack([own.weight.t() for own in maps]))
    frozen = SeedLinear([own.requires_grad_(False) for own in maps])
    before = frozen.weight.clone()
    clip_norms_(frozen, 0.01)
    assert torch.equal(frozen.weight, before)
