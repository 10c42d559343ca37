"""A group never stands in two splits; sizes and classes are as near to those asked for as groups allow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aepretrain import Arrays, DataError
from aepretrain.data.division import Division
from aepretrain.data.groups import number_groups, take_groups
from aepretrain.data.origin import Origin
from tests.support.warned import special_warnings

SUBJECTS = Origin("subjects")


def divided(groups, y=None, validation=0.25, test=0.2, seed=0):
    labels = None if y is None else torch.as_tensor(y)
    parts = Division.of(len(groups), groups=groups).rows(len(groups), labels, validation, test, seed)
    return [part.numpy() for part in parts]


@given(
    sizes=st.lists(st.integers(1, 12), min_size=3, max_size=30),
    classes=st.integers(1, 4),
    seed=st.integers(0, 9),
)
@settings(max_examples=80, deadline=None)
def test_no_group_is_in_two_splits_and_no_row_is_lost(sizes, classes, seed):
    generator = np.random.default_rng(seed)
    groups = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    y = generator.integers(0, classes, len(groups))
    if all(len(set(groups[y == label])) < 5 for label in range(classes)):
        return
    parts = divided(groups, y, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    named = [set(groups[rows]) for rows in parts]
    assert all(named)
    assert sum(map(len, named)) == len(set(groups))


@given(sizes=st.lists(st.integers(1, 10), min_size=30, max_size=60), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_sizes_are_those_asked_for_within_half_of_a_group(sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    _, validation, test = divided(groups, seed=seed)
    rest = len(groups) - len(test)
    assert abs(len(test) - np.ceil(0.2 * len(groups))) <= max(sizes) / 2
    assert abs(len(validation) - np.ceil(0.25 * rest)) <= max(sizes) / 2


@pytest.mark.parametrize("seed", range(5))
def test_classes_have_like_shares_in_every_split(seed):
    groups = np.repeat(np.arange(200), 10)
    y = np.where(groups < 150, 0, 1)  # each group is of one class, as patients are
    for rows, share in zip(divided(groups, y, seed=seed), (0.6, 0.2, 0.2), strict=True):
        counts = np.bincount(y[rows])
        assert counts == pytest.approx([1500 * share, 500 * share], rel=0.12)


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_three_groups_is_in_every_split_and_one_of_a_single_group_in_training(seed):
    groups = np.repeat(np.arange(24), 5)
    y = np.select([groups < 20, groups < 23], [0, 1], 2)
    present = [set(y[rows]) for rows in divided(groups, y, seed=seed)]
    assert present == [{0, 1, 2}, {0, 1}, {0, 1}]


def test_another_seed_chooses_other_groups_and_the_same_seed_the_same():
    groups = np.repeat(np.arange(30), 7)
    tests = [divided(groups, groups % 2, seed=seed)[2].tolist() for seed in (0, 1, 2, 0)]
    assert tests[0] == tests[3]
    assert len({tuple(rows) for rows in tests}) == 3


def test_other_names_of_the_same_groups_divide_alike():
    names = np.array(["zoe", "adam", "mia", "ben", "eve"]).repeat(4)
    assert number_groups(names, 20, SUBJECTS).tolist() == np.arange(5).repeat(4).tolist()
    assert number_groups(list(names), 20, SUBJECTS).tolist() == np.arange(5).repeat(4).tolist()
    assert number_groups([7.5, 2, 7.5], 3, SUBJECTS).tolist() == [0, 1, 0]
    for other in (names.tolist(), np.arange(5).repeat(4) * -3, torch.arange(5).repeat_interleave(4)):
        assert [rows.tolist() for rows in divided(names)] == [rows.tolist() for rows in divided(other)]


def test_one_group_larger_than_the_rest_is_for_training():
    groups = np.r_[np.zeros(80), np.ones(10), np.full(10, 2)]
    train, *held_out = divided(groups)
    assert len(train) == 80
    assert [len(rows) for rows in held_out] == [10, 10]


@pytest.mark.parametrize(
    ("groups", "y", "message"),
    [
        ([1, 2] * 30, None, "2 groups cannot be divided into 3 splits, of which each needs a group of its own"),
        (["a", None] * 30, None, "groups must not be missing, but 30 of 60 are, the first in row 1 "),
        (np.where(np.arange(60) == 7, np.nan, 1.0), None, "groups must not be missing, but 1 of 60 are, .* row 7 "),
        ([["a"], "b"] * 30, None, "groups must be one value per example"),
        (np.array([{"a"}] * 60), None, "groups must be numbers or text: unhashable type"),
        (np.zeros((60, 1)), None, r"groups must have the shape \(60,\), but have \(60, 1\)\. Flatten them"),
        (np.arange(59), None, "60 examples need as many groups, but there are 59. Give one group per row"),
        (np.arange(60) // 20, np.arange(60) // 20, "no class is in two of the groups, so that a class would be either"),
    ],
)
def test_groups_that_cannot_divide_are_refused_in_one_line(groups, y, message):
    with pytest.raises(DataError, match=message) as caught:
        Arrays(np.random.default_rng(0).normal(size=(60, 3)), y, groups=groups).source()
    assert "\n" not in str(caught.value)


def test_groups_of_one_row_each_are_named():
    data = Arrays(np.random.default_rng(0).normal(size=(60, 3)), groups=np.arange(60))
    data.source()
    (warning,) = special_warnings(data)
    assert warning.startswith("every row is a group of its own, so that data.groups changes nothing. Name groups that")


def test_many_groups_take_the_first_choice():
    groups = np.arange(40_000).repeat(2)
    taken = take_groups(groups, groups % 3, 16_000, leave=2, seed=0)
    assert abs(taken.sum() - 16_000) <= 6
