"""Every split gets its share of every class, and a seed chooses the division."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from aepretrain import Arrays, Digits
from aepretrain.data.random_division import divide_rows


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=8).filter(lambda counts: sum(counts) > 60),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_classes_of_three_are_in_every_split_and_rarer_ones_in_training(counts, seed):
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    parts = divide_rows(len(y), y, validation=0.2, test=0.2, seed=seed)
    assert torch.cat(parts).sort().values.tolist() == list(range(len(y)))
    present = [set(y[rows].tolist()) for rows in parts]
    for label, count in enumerate(counts):
        where = [label in labels for labels in present]
        assert where == [True, count > 2, count > 1]


def test_without_rare_classes_the_split_is_that_of_scikit_learn():
    y = torch.arange(300) % 7
    rest, tested = train_test_split(np.arange(300), test_size=0.2, stratify=y.numpy(), random_state=4)
    train, held_out = train_test_split(rest, test_size=0.25, stratify=y.numpy()[rest], random_state=4)
    found = divide_rows(300, y, validation=0.25, test=0.2, seed=4)
    assert [rows.tolist() for rows in found] == [train.tolist(), held_out.tolist(), tested.tolist()]


def test_classes_that_a_split_lacks_are_named():
    y = np.array(["a"] * 60 + ["b"] * 60 + ["c"] * 2)
    data = Arrays(np.random.default_rng(0).normal(size=(122, 3)), np.unique(y, return_inverse=True)[1])
    data.class_names = ["a", "b", "c"]
    data.source()
    assert "validation split: no example of 'c'. Give more examples, or merge rare classes." in data.warnings


def test_another_split_seed_divides_anew_and_comes_back_the_same():
    data = Digits(labels=50)
    other, again = data.with_split(3), Digits(labels=50, split_seed=3)
    assert data.with_split(0) is data
    assert data.with_split(3) is other
    for name in ("train", "validation", "test"):
        mine, theirs = getattr(other.splits(1), name), getattr(again.splits(1), name)
        assert torch.equal(mine.x, theirs.x)
        assert torch.equal(mine.y, theirs.y)
    assert not torch.equal(data.splits().test.x, other.splits().test.x)
    assert len(other.splits().test) == len(data.splits().test)


def test_a_transform_is_fitted_anew_to_the_training_rows_of_every_division():
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    data = Arrays(x, transform="standardize")
    data.source()
    other = data.with_split(1)
    train = other.splits().train.x
    torch.testing.assert_close(train.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    assert not torch.equal(other.transform.mean, data.transform.mean)


def test_data_with_splits_of_their_own_keep_them(monkeypatch):
    monkeypatch.setattr(Digits, "own_splits", True)
    data = Digits()
    assert data.with_split(5) is data


@pytest.mark.parametrize("counts", [(50, 1), (50, 2), (50, 3)])
def test_the_numbers_of_examples_do_not_depend_on_rare_classes(counts):
    y = torch.arange(2).repeat_interleave(torch.tensor(counts))
    parts = divide_rows(len(y), y, validation=0.25, test=0.2)
    assert sum(map(len, parts)) == sum(counts)
    assert all(len(rows) >= 9 for rows in parts)
