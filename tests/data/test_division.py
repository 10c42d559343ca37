"""Every split gets its share of every class, and a seed chooses the division."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from aepretrain import Arrays, ConfigError, Digits
from aepretrain.data.division import divide
from aepretrain.data.examples import Examples, Source
from aepretrain.data.inspection import missing_classes
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


@pytest.mark.parametrize(
    ("validation", "test"), [(0.0, 0.2), (0.2, 0.0), (1.0, 0.2), (0.2, 1.0), (0.5, 0.5), (-0.1, 0.2)]
)
def test_shares_that_leave_nothing_to_train_on_are_refused(validation, test):
    examples = Examples(torch.rand(50, 2))
    with pytest.raises(ConfigError, match=rf"leave training data, but got {validation} and {test}"):
        divide(examples, validation=validation, test=test)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.3, 0.1), (0.45, 0.45)])
def test_shares_are_those_of_all_examples_and_labels_stay_with_their_inputs(labelled, validation, test):
    x = torch.arange(200.0).unsqueeze(1)
    source = divide(Examples(x, torch.arange(200) % 4 if labelled else None), validation=validation, test=test, seed=2)
    sizes = [len(split) for split in (source.train, source.validation, source.test)]
    assert sizes == [200 - round(200 * validation) - round(200 * test), round(200 * validation), round(200 * test)]
    for split in (source.train, source.validation, source.test):
        if labelled:
            assert torch.equal(split.y, split.x[:, 0].long() % 4)
        else:
            assert split.y is None
    together = torch.cat([source.train.x, source.validation.x, source.test.x])
    assert torch.equal(together.sort(dim=0).values, x)


@pytest.mark.parametrize("y", [None, torch.arange(120) % 5])
def test_every_seed_divides_otherwise_and_always_alike(y):
    found = [divide_rows(120, y, validation=0.2, test=0.2, seed=seed) for seed in (0, 0, 1)]
    for own, again, other in zip(*found, strict=True):
        assert torch.equal(own, again)
        assert not torch.equal(own.sort().values, other.sort().values)
    default = divide_rows(120, y, 0.2, 0.2)
    assert all(torch.equal(a, b) for a, b in zip(default, found[0], strict=True))


def test_missing_classes_are_listed_up_to_ten():
    def examples(labels):
        return Examples(torch.zeros(len(labels), 1), torch.tensor(labels))

    few, every = examples([0]), examples(list(range(12)))
    assert missing_classes(Source(every, every, every)) == []
    found = missing_classes(Source(few, every, Examples(torch.zeros(1, 1))))
    listed = ", ".join(str(label) for label in range(1, 11))
    assert found == [
        f"training split: no example of {listed} and 1 other classes. Give more examples, or merge rare classes."
    ]
    eleven = missing_classes(Source(every, examples([0, 1]), every), [f"c{k}" for k in range(12)])
    (sentence,) = eleven
    assert sentence.startswith("validation split: no example of 'c2', 'c3'")
    assert "other classes" not in sentence
