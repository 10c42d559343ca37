import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Normal

from aepretrain import Bernoulli, Categorical, Gaussian


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


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical()], ids=lambda v: type(v).__name__)
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


@pytest.mark.parametrize("likelihood", [Gaussian(), Bernoulli(), Categorical((2, 4))], ids=lambda v: type(v).__name__)
def test_the_losses_of_the_features_add_up_to_the_loss_of_the_example(likelihood):
    x, y = torch.eye(2).repeat(1, 3), torch.randn(2, 6)
    parts = likelihood.per_feature(x, y)
    assert parts.shape == (2, 6)
    torch.testing.assert_close(parts.sum(dim=1), likelihood(x, y))
    other = likelihood.per_feature(x, torch.cat([y[:, :5], y[:, 5:] + 1], dim=1))
    untouched = slice(0, 2) if isinstance(likelihood, Categorical) else slice(0, 5)
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
    [(1.00002, "from 0 to 1.00002"), (1.0001, "from 0 to 1.0001"), (-2e-5, "from -2e-05 to 1. S"), (3.25, "to 3.25.")],
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
