import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aepretrain import Binarization, Dropout, GaussianNoise, Masking, NoCorruption, SaltAndPepper, SwapNoise
from aepretrain.parts.noise import Noise

ALL = [
    NoCorruption(), Binarization(), Masking(0.3), GaussianNoise(0.3), SaltAndPepper(0.3), SwapNoise(0.3), Dropout(0.3),
]  # fmt: skip
N = 200_000


def share(mask):
    return mask.float().mean().item()


@pytest.mark.parametrize("corruption", ALL, ids=lambda c: type(c).__name__)
def test_the_input_is_left_as_it_is_and_shape_and_type_are_kept(corruption):
    x = torch.rand(6, 2, 3, dtype=torch.float64)
    before = x.clone()
    damaged = corruption(x)
    assert torch.equal(x, before)
    assert damaged.shape == x.shape
    assert damaged.dtype == x.dtype


@pytest.mark.parametrize("corruption", ALL[1:], ids=lambda c: type(c).__name__)
def test_the_noise_is_a_function_of_the_generator(corruption):
    x = torch.rand(50, 20)
    draws = [corruption(x, Noise(torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@settings(max_examples=20, deadline=None)
@given(p=st.floats(0, 0.95))
def test_masking_erases_the_share_p(p):
    damaged = Masking(p)(torch.ones(N), Noise(torch.Generator().manual_seed(0)))
    assert set(damaged.unique().tolist()) <= {0.0, 1.0}
    assert share(damaged == 0) == pytest.approx(p, abs=0.01)


def test_gaussian_noise_has_its_standard_deviation():
    noise = GaussianNoise(0.7)(torch.zeros(N))
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(0.7, rel=0.01)


def test_salt_and_pepper_are_equally_frequent():
    damaged = SaltAndPepper(0.4, low=-1, high=2)(torch.full((N,), 0.5))
    assert share(damaged == -1) == pytest.approx(0.2, abs=0.01)
    assert share(damaged == 2) == pytest.approx(0.2, abs=0.01)
    assert share(damaged == 0.5) == pytest.approx(0.6, abs=0.01)


def test_swap_noise_takes_values_of_the_same_column():
    x = torch.arange(1000.0).unsqueeze(1) + torch.tensor([0.0, 10_000.0])
    damaged = SwapNoise(0.5)(x)
    assert (damaged[:, 0] < 1000).all()
    assert (damaged[:, 1] >= 10_000).all()
    assert share(damaged != x) == pytest.approx(0.5, abs=0.05)
    assert torch.equal(SwapNoise(0.5)(x[:1]), x[:1])


def test_swap_noise_takes_the_groups_of_a_table_as_a_whole():
    k = torch.arange(2000)
    x = torch.cat([k[:, None].float(), torch.eye(4)[k % 4], torch.eye(2)[k % 2]], dim=1)
    damaged = SwapNoise(0.5, groups=(4, 2))(x)
    number, four, two = damaged.split((1, 4, 2), dim=1)
    assert (four.sum(dim=1) == 1).all()
    assert (two.sum(dim=1) == 1).all()
    assert share(number != x[:, :1]) == pytest.approx(0.5, abs=0.05)
    assert share((four != x[:, 1:5]).any(dim=1)) == pytest.approx(0.5 * 3 / 4, abs=0.05)
    assert share((two != x[:, 5:]).any(dim=1)) == pytest.approx(0.5 / 2, abs=0.05)
    alone = SwapNoise(0.5, groups=[4, 2])(x[:, 1:])
    assert (alone.split((4, 2), dim=1)[1].sum(dim=1) == 1).all()
    assert share((alone != x[:, 1:]).any(dim=1)) == pytest.approx(1 - (1 - 3 / 8) * (1 - 1 / 4), abs=0.05)
    with pytest.raises(ValueError, match=r"have 6 features together, but examples have the shape \(1, 7\)"):
        SwapNoise(0.5, groups=(4, 2))(x[:, None])
    assert torch.equal(SwapNoise(0.0, groups=(4, 2))(x), x)
    with pytest.raises(ValueError, match="have 8 features together, but examples have the"):
        SwapNoise(0.5, groups=(8,))(x)


def test_dropout_keeps_the_mean():
    m = Dropout(0.25).mask(torch.zeros(N))
    assert sorted(m.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert m.mean().item() == pytest.approx(1, abs=0.01)


def test_rare_corruption_of_half_precision_is_as_rare_as_it_is_said():
    """Uniform numbers in bfloat16 are multiples of 1/256: the smallest probability would be 0.4 %."""
    x = torch.ones(N, dtype=torch.bfloat16)
    for corruption in (Masking(0.001), Dropout(0.001)):
        assert share(corruption(x, Noise(torch.Generator().manual_seed(0))) == 0) == pytest.approx(0.001, abs=3e-4)


def test_the_defaults_are_those_of_the_documentation():
    assert (Masking().p, GaussianNoise().std, SwapNoise().p, Dropout().p) == (0.25, 0.1, 0.15, 0.5)
    assert SaltAndPepper() == SaltAndPepper(p=0.25, low=0.0, high=1.0)


@pytest.mark.parametrize("corruption", [Masking, GaussianNoise, SaltAndPepper, SwapNoise, Dropout])
def test_no_noise_is_the_end_of_every_range_and_changes_nothing(corruption):
    x = torch.rand(20, 3)
    assert torch.equal(corruption(0.0)(x), x)
    assert torch.equal(NoCorruption()(x), x)


NAMES = {Masking: "masking", SaltAndPepper: "salt-and-pepper", SwapNoise: "swap noise", Dropout: "dropout"}


@pytest.mark.parametrize("corruption", NAMES)
@pytest.mark.parametrize("p", [1.5, 1.0, -0.1, float("nan")])
def test_a_probability_outside_its_range_is_refused(corruption, p):
    with pytest.raises(ValueError, match=rf"^{NAMES[corruption]} p must lie in \[0, 1\), but got {p}\. At p=1 "):
        corruption(p)


@pytest.mark.parametrize("std", [-0.1, float("inf"), float("nan")])
def test_a_standard_deviation_outside_its_range_is_refused(std):
    with pytest.raises(ValueError, match=f"but got {std}"):
        GaussianNoise(std)


def test_groups_of_swap_noise_may_be_any_sequence():
    assert hash(SwapNoise(0.2, groups=[2, 3])) == hash(SwapNoise(0.2, groups=(2, 3)))  # a config gives a list


def test_binarization_draws_a_one_with_the_probability_of_the_value():
    x = torch.tensor([0.0, 0.2, 0.7, 1.0]).expand(N // 4, 4)
    drawn = Binarization()(x, Noise(torch.Generator().manual_seed(0)))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn[:, 0].sum() == 0
    assert drawn[:, 3].sum() == N // 4
    assert drawn.mean(dim=0)[1:3].tolist() == pytest.approx([0.2, 0.7], abs=0.01)
