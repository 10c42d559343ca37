import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from aepretrain import Bernoulli, Categorical, Gaussian, Mixed
from aepretrain.parts.likelihoods import Likelihood
from aepretrain.parts.noise import Noise
from tests.support.gradients import check_gradients


def pair(*shape):
    return torch.rand(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)


def test_gaussian_is_the_normal_log_density_but_for_its_constant():
    x, y = pair(5, 2, 3)
    constant = -Normal(y, 1.0).log_prob(y).flatten(1).sum(dim=1)
    torch.testing.assert_close(Gaussian()(x, y), -Normal(y, 1.0).log_prob(x).flatten(1).sum(dim=1) - constant)


def test_bernoulli_is_the_log_probability_of_torch_distributions():
    x, y = pair(5, 6)
    x = x.round()
    torch.testing.assert_close(Bernoulli()(x, y), -TorchBernoulli(logits=y).log_prob(x).sum(dim=1))
    torch.testing.assert_close(Bernoulli().mean(y), TorchBernoulli(logits=y).mean)


def test_categorical_is_the_log_probability_of_torch_distributions_group_by_group():
    y = torch.randn(5, 7, dtype=torch.float64)
    choices = torch.tensor([[0, 2], [1, 0], [2, 3], [0, 1], [1, 1]])
    x = torch.cat([torch.eye(3)[choices[:, 0]], torch.eye(4)[choices[:, 1]]], dim=1).double()
    groups = y.split((3, 4), dim=1)
    expected = -sum(
        torch.distributions.Categorical(logits=group).log_prob(choices[:, k]) for k, group in enumerate(groups)
    )
    torch.testing.assert_close(Categorical((3, 4))(x, y), expected)
    torch.testing.assert_close(Categorical((3, 4)).mean(y), torch.cat([g.softmax(dim=1) for g in groups], dim=1))


@pytest.mark.parametrize(
    "likelihood", [Gaussian(), Bernoulli(), Categorical(), Mixed(categorical=(4,))], ids=lambda v: type(v).__name__
)
def test_losses_are_summed_over_features_one_value_per_example_and_never_in_half_precision(likelihood):
    x = torch.eye(4).repeat(2, 1)
    loss = likelihood(x, torch.randn(8, 4).bfloat16())
    assert loss.shape == (8,)
    assert loss.dtype == torch.float32


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0, 1e4))
def test_bernoulli_is_finite_for_any_logit(scale):
    x = torch.tensor([[0.0, 1.0]])
    assert Bernoulli()(x, scale * torch.tensor([[1.0, -1.0]])).isfinite().all()


TABLE = Mixed(gaussian=1, bernoulli=1, categorical=(4,))


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical((2,) * 75), Mixed(0, 150)], ids=repr)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_loss_without_a_gradient_is_the_loss(likelihood, scale):
    x, y = torch.rand(7, 3, 50), scale * torch.randn(7, 3, 50)
    found = likelihood.without_gradient(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, likelihood(x, y), rtol=1e-5, atol=1e-4)
    half = likelihood.without_gradient(x.bfloat16(), y.bfloat16())
    torch.testing.assert_close(half, likelihood(x.bfloat16(), y.bfloat16()), rtol=1e-5, atol=1e-4)


def test_a_table_s_loss_is_the_sum_of_the_losses_of_its_parts():
    numbers, answers, choices = torch.randn(5, 2), torch.rand(5, 3).round(), torch.eye(3)[[0, 2, 1, 1, 0]]
    x, y = torch.cat([numbers, answers, choices], dim=1).double(), torch.randn(5, 8, dtype=torch.float64)
    expected = 0.5 * (x[:, :2] - y[:, :2]).square().sum(dim=1)
    expected = expected - TorchBernoulli(logits=y[:, 2:5]).log_prob(x[:, 2:5]).sum(dim=1)
    expected = expected - torch.distributions.OneHotCategorical(logits=y[:, 5:]).log_prob(x[:, 5:])
    table = Mixed(2, 3, (3,))
    torch.testing.assert_close(table(x, y), expected)
    torch.testing.assert_close(table.mean(y)[:, 5:].sum(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(table.mean(table.output_of_mean(table.mean(y))), table.mean(y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("table", "x", "message"),
    [
        (Mixed(1, 1), torch.zeros(2, 3), "1 gaussian, 1 bernoulli and groups of .* add up to 2, but there are 3"),
        (Mixed(1, 1), torch.tensor([[9.0, 9.0]]), "Bernoulli takes values in"),
        (Mixed(categorical=(2, 2)), torch.tensor([[1.0, 0.0, 1.0, 1.0]]), "must add up to 1, but one adds up to 2"),
    ],
)
def test_rows_that_do_not_fit_the_columns_are_refused(table, x, message):
    with pytest.raises(ValueError, match=message):
        table.check(x)


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ((2, 0), [(Gaussian(), 2)]),
        ((0, 2), [(Bernoulli(), 2)]),
        ((0, 0, [2, 3]), [(Categorical((2, 3)), 5)]),
        ((1, 1, (2,)), [(Gaussian(), 1), (Bernoulli(), 1), (Categorical((2,)), 2)]),
    ],
)
def test_a_table_has_the_parts_that_occur(sizes, parts):
    table = Mixed(*sizes)
    assert table.parts == parts
    x = torch.zeros(3, sum(size for _, size in parts))
    start = sum(sizes[:2])
    for size in table.categorical:
        x[:, start] = 1.0
        start += size
    table.check(x)
    with pytest.raises(ValueError, match="the codes of layer 3 are none"):
        table.check_codes("layer 3", 0.0, 1.0)


@pytest.mark.parametrize(
    "sizes", [{}, {"gaussian": -1, "bernoulli": 2}, {"gaussian": 2, "bernoulli": -1}, {"categorical": (1, 2)}]
)
def test_columns_of_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="at least"):
        Mixed(**sizes)


@pytest.mark.parametrize(
    "likelihood", [Gaussian(), Bernoulli(), Categorical((2, 4)), TABLE], ids=lambda v: type(v).__name__
)
def test_the_losses_of_the_features_add_up_to_the_loss_of_the_example(likelihood):
    x, y = torch.eye(2).repeat(1, 3), torch.randn(2, 6)
    parts = likelihood.per_feature(x, y)
    assert parts.shape == (2, 6)
    torch.testing.assert_close(parts.sum(dim=1), likelihood(x, y))
    other = likelihood.per_feature(x, torch.cat([y[:, :5], y[:, 5:] + 1], dim=1))
    untouched = slice(0, 2) if isinstance(likelihood, Categorical | Mixed) else slice(0, 5)
    assert torch.equal(other[:, untouched], parts[:, untouched])


def test_data_outside_the_support_are_refused_with_their_range():
    with pytest.raises(ValueError, match=r"Bernoulli takes values in \[0, 1\], but the data reach from -3 to 0.5"):
        Bernoulli().check(torch.tensor([[-3.0, 0.5]]))
    Gaussian().check(torch.tensor([[-3.0, 0.5]]))


def test_values_that_float32_rounds_out_of_the_interval_are_taken():
    """As those of scikit-learn's MinMaxScaler are."""
    x = torch.tensor([[1.0000001, -1e-7, 0.5]])
    Bernoulli().check(x)
    torch.testing.assert_close(Bernoulli()(x, torch.ones(1, 3)), Bernoulli()(x.clamp(0, 1), torch.ones(1, 3)))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1.00002, "from 0 to 1.00002"),
        (1.0001, "from 0 to 1.0001"),
        (-2e-5, "from -2e-05 to 1. S"),
        (3.25, "to 3.25."),
        (3.14159, "to 3.142."),
    ],
)
def test_values_outside_are_told_with_the_digits_that_show_it(value, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Bernoulli().check(torch.tensor([[0.0, 1.0, value]]))


def test_groups_that_are_no_choices_are_refused():
    with pytest.raises(ValueError, match="add up to 1, but one adds up to 2"):
        Categorical().check(torch.ones(1, 2))
    with pytest.raises(ValueError, match="add up to 5, but there are 4"):
        Categorical((2, 3)).check(torch.eye(4))
    with pytest.raises(ValueError, match="at least 2 features, but got 1"):
        Categorical((1, 3))


class Within(Gaussian):
    """A likelihood of values in another interval."""

    support = (2.0, 12.0)


@pytest.mark.parametrize("value", [2.0, 12.0, 2 - 0.9e-4, 12 + 0.9e-4])
def test_the_ends_of_the_interval_are_taken_and_rounding_is_a_share_of_its_length(value):
    Within().check(torch.tensor([[5.0, value]], dtype=torch.float64))


@pytest.mark.parametrize("value", [2 - 1.1e-4, 12 + 1.1e-4])
def test_values_beyond_rounding_are_refused(value):
    with pytest.raises(ValueError, match=r"Within takes values in \[2, 12\], but the data reach from"):
        Within().check(torch.tensor([[5.0, value]], dtype=torch.float64))


def test_codes_must_lie_in_the_interval():
    for likelihood, low, high in ((Bernoulli(), 0.0, 1.0), (Within(), 2.0, 12.0), (Gaussian(), -1e9, 1e9)):
        likelihood.check_codes("layer 0", low, high)
    for low, high in ((-0.01, 1.0), (0.0, 1.01)):
        with pytest.raises(
            ValueError, match=r"its likelihood Bernoulli takes values in \[0, 1\], but the codes of layer 3"
        ):
            Bernoulli().check_codes("layer 3", low, high)
    with pytest.raises(ValueError, match="the codes of layer 3 are no choices that add up to 1"):
        Categorical().check_codes("layer 3", 0.0, 1.0)


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical(), Categorical((2, 4))], ids=str)
def test_the_output_of_a_mean_has_that_mean(likelihood):
    mean = torch.cat([torch.tensor([[0.3, 0.7]]), torch.tensor([[0.1, 0.2, 0.3, 0.4]])], dim=1)
    mean = mean / 2 if likelihood == Categorical() else mean
    torch.testing.assert_close(likelihood.mean(likelihood.output_of_mean(mean)), mean)


def test_a_mean_of_0_or_1_is_kept_a_millionth_away():
    ends = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    expected = math.log(1e-6 / (1 - 1e-6))
    torch.testing.assert_close(Bernoulli().output_of_mean(ends), torch.tensor([[expected, -expected]]).double())
    torch.testing.assert_close(Categorical().output_of_mean(ends), torch.tensor([[math.log(1e-6), 0.0]]).double())


@pytest.mark.parametrize("shape", [(2, 3), (6,), (1, 6)])
def test_groups_are_consecutive_features_of_inputs_of_any_shape(shape):
    x = torch.eye(6).reshape(6, *shape)
    assert [part.shape for part in Categorical((2, 4)).split(x)] == [(6, 2), (6, 4)]
    assert [part.shape for part in Categorical().split(x)] == [(6, 6)]
    assert Categorical((2, 4)).mean(x).shape == x.shape
    y = torch.randn(6, *shape)
    for likelihood in (Gaussian(), Bernoulli(), Categorical((2, 4)), TABLE):
        torch.testing.assert_close(likelihood(x, y), likelihood(x.flatten(1), y.flatten(1)))
        assert likelihood.mean(y).shape == likelihood.output_of_mean(x).shape == x.shape


@pytest.mark.parametrize(("total", "refused"), [(1.0009, False), (0.9991, False), (1.0011, True), (0.9989, True)])
def test_a_group_may_miss_1_by_a_thousandth(total, refused):
    x = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, total / 2, total / 2]], dtype=torch.float64)
    if refused:
        with pytest.raises(ValueError, match=f"must add up to 1, but one adds up to {total:.4g}"):
            Categorical((2, 2)).check(x)
    else:
        Categorical((2, 2)).check(x)


@pytest.mark.parametrize(
    "likelihood", [Gaussian(), Bernoulli(), Categorical((2, 4)), TABLE], ids=lambda v: type(v).__name__
)
def test_losses_and_means_can_be_differentiated_by_all_they_depend_on(likelihood):
    x, y = torch.rand(2, 3, 6, dtype=torch.float64).unbind()
    x, y, w = (0.1 + 0.8 * x).requires_grad_(), y.requires_grad_(), torch.rand(3, 6, dtype=torch.float64)
    check_gradients(lambda: (w[:, 0] * likelihood(x, y)).sum(), {"x": x, "y": y})
    check_gradients(lambda: (w * likelihood.mean(y)).sum(), {"y": y})
    check_gradients(lambda: (w * likelihood.output_of_mean(x)).sum(), {"mean": x})


def test_groups_of_a_config_are_a_list_and_shares_lie_between_0_and_1():
    assert Categorical([2, 4]) == Categorical((2, 4))
    for x in ([[1.5, -0.5]], [[2.0, -1.0]], [[-0.1, 1.1]]):
        with pytest.raises(ValueError, match=r"Categorical takes values in \[0, 1\]"):
            Categorical().check(torch.tensor(x))


def test_a_mixed_likelihood_has_as_many_features_of_two_kinds_and_groups_of_any_sequence():
    assert Mixed(gaussian=2, bernoulli=2).per_feature(torch.zeros(3, 4), torch.zeros(3, 4)).shape == (3, 4)
    assert hash(Mixed(categorical=[2, 3])) == hash(Mixed(categorical=(2, 3)))  # a config gives a list


DRAWS = 40_000


def five_sigma(standard_deviation):
    """A bound that the mean of the draws keeps to but once in a million runs."""
    return 5 * standard_deviation / math.sqrt(DRAWS)


def test_draws_have_the_moments_of_torch_distributions():
    y = torch.tensor([[-1.0, 0.0, 2.0, 0.5]], dtype=torch.float64)
    for likelihood, drawn_from in (
        (Gaussian(), Normal(y, 1.0)),
        (Bernoulli(), TorchBernoulli(logits=y)),
        (Categorical(), torch.distributions.OneHotCategorical(logits=y)),
    ):
        x = likelihood.sample(y.expand(DRAWS, 4), Noise(torch.Generator().manual_seed(0)))
        sd = drawn_from.variance.sqrt()
        assert ((x.mean(dim=0) - drawn_from.mean).abs() < five_sigma(sd)).all()
        torch.testing.assert_close(x.var(dim=0), drawn_from.variance[0], rtol=0.05, atol=0)
        drawn_from.expand((DRAWS, 4) if likelihood != Categorical() else (DRAWS,)).log_prob(x)  # checks the support


def test_draws_of_a_table_are_those_of_its_parts():
    table, y = Mixed(1, 1, (2, 3)), torch.randn(1, 7, dtype=torch.float64)
    x = table.sample(y.expand(DRAWS, 7), Noise(torch.Generator().manual_seed(0)))
    sd = torch.cat([torch.ones(1), (table.mean(y) * (1 - table.mean(y)))[0, 1:].sqrt()])
    assert ((x.mean(dim=0) - table.mean(y)[0]).abs() < five_sigma(sd)).all()
    table.check(x)
    assert set(x[:, 1:].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical(), Categorical((2, 4)), Mixed(2, 2, (2,))])
def test_draws_keep_shape_and_generator_and_are_never_in_half_precision(likelihood):
    y, before = torch.randn(5, 6, dtype=torch.bfloat16), torch.get_rng_state()
    draw = lambda seed: likelihood.sample(y, Noise(torch.Generator().manual_seed(seed)))  # noqa: E731
    assert draw(1).shape == (5, 6)
    assert draw(1).dtype == torch.float32
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2)) or likelihood == Categorical()
    assert torch.equal(torch.get_rng_state(), before)


def test_draws_keep_the_shape_of_pictures():
    for likelihood in (Gaussian(), Bernoulli(), Categorical()):
        assert likelihood.sample(torch.randn(3, 1, 4, 4)).shape == (3, 1, 4, 4)


def test_certain_logits_are_drawn_for_certain():
    y = torch.tensor([[100.0, -100.0]]).expand(50, 2)
    for likelihood in (Bernoulli(), Categorical()):
        assert torch.equal(likelihood.sample(y), torch.tensor([[1.0, 0.0]]).expand(50, 2))


def test_a_likelihood_without_draws_says_so():
    class Poisson(Gaussian):
        sample = Likelihood.sample

    with pytest.raises(NotImplementedError, match=r"a Poisson cannot be sampled: .* Take its mean"):
        Poisson().sample(torch.zeros(2, 3))
