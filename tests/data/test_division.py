"""Every split gets its share of every class, and a seed chooses the division."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from aepretrain import Arrays, ConfigError, Digits
from aepretrain.data.division import Division, divide
from aepretrain.data.examples import Examples, Source
from aepretrain.data.inspection import missing_classes
from aepretrain.data.random_division import divide_rows, draw


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


ROWS = np.arange(12)
PARTS = (torch.arange(8), torch.tensor([8, 9]), torch.tensor([10, 11]))
NUMBERS = "8 training, 2 validation, 2 test examples."
OF_GROUPS = "8 training examples of 4 groups, 2 validation examples of 1 group, 2 test examples of 1 group."
ALL_GIVEN, TEST_GIVEN = np.repeat([0, 1, 2], [8, 2, 2]), np.repeat([0, 2], [10, 2])


@pytest.mark.parametrize(
    ("how", "plain", "classes"),
    [
        ({}, f"at random: {NUMBERS}", f"at random, stratified by class: {NUMBERS}"),
        ({"groups": ROWS // 2}, f"by groups: {OF_GROUPS}", f"by groups, with like shares of classes: {OF_GROUPS}"),
        ({"times": ROWS}, f"by time, the earliest rows for training, the same for every seed: {NUMBERS}", None),
        (
            {"times": ROWS, "groups": ROWS // 2},
            f"by time, the earliest groups for training, the same for every seed: {OF_GROUPS}",
            None,
        ),
        ({"given": ALL_GIVEN, "giver": "a"}, f"as given by a, the same for every seed: {NUMBERS}", None),
        (
            {"given": TEST_GIVEN},
            f"as given by data.splits, and validation at random: {NUMBERS}",
            f"as given by data.splits, and validation at random, stratified by class: {NUMBERS}",
        ),
        (
            {"given": TEST_GIVEN, "times": ROWS},
            "as given by data.splits, and validation by time, the earliest rows for training, the same for every "
            f"seed: {NUMBERS}",
            None,
        ),
    ],
)
def test_the_note_of_a_division_says_how_rows_were_divided(how, plain, classes):
    division = Division(**how)
    assert division.words(PARTS, has_classes=False) == f"divided {plain}"
    assert division.words(PARTS, has_classes=True) == f"divided {classes or plain}"


@pytest.mark.parametrize(
    ("how", "is_fixed", "is_random", "undivided"),
    [
        ({}, False, True, 12),
        ({"groups": ROWS}, False, False, 12),
        ({"times": ROWS}, True, False, 12),
        ({"given": ALL_GIVEN}, True, False, 8),
        ({"given": TEST_GIVEN}, False, True, 10),
        ({"given": TEST_GIVEN, "groups": ROWS}, False, False, 10),
    ],
)
def test_a_division_is_fixed_by_times_or_by_splits_and_random_without_groups(how, is_fixed, is_random, undivided):
    division = Division(**how)
    assert (division.is_fixed, division.is_random, division.undivided(12)) == (is_fixed, is_random, undivided)
    assert division.subset(torch.arange(12)).words(PARTS, has_classes=False) == division.words(PARTS, has_classes=False)
    assert {name: part is None for name, part in division.content().items()} == {
        "groups": division.groups is None, "times": division.times is None, "given splits": division.given is None
    }  # fmt: skip


@pytest.mark.parametrize(("late", "count"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_training_rows_as_late_as_the_first_held_out_one_are_doubted(late, count):
    division = Division(groups=np.repeat([0, 1, 2], 4), times=np.r_[[0, 0, 0, late], [2, 3, 3, 3], [4, 5, 5, 5]])
    doubts = division._doubts([torch.arange(4), torch.arange(4, 8), torch.arange(8, 12)])
    assert [doubt.split(", since")[0] for doubt in doubts] == [
        "1 of 4 training examples are not before the first held-out example in time"
    ] * count


@pytest.mark.parametrize("size", [3, 0.5, 0.3])
def test_rows_are_drawn_by_class_but_for_the_only_row_of_a_class(size):
    labels = np.repeat([0, 1], [10, 2])
    rest, drawn = draw(np.arange(12), size, labels, 3)
    expected = train_test_split(np.arange(12), test_size=size, stratify=labels, random_state=3)
    assert [rest.tolist(), drawn.tolist()] == [rows.tolist() for rows in expected]
    labels = np.repeat([0, 1], [10, 1])
    rest, drawn = draw(np.arange(11), size, labels, 3)
    assert rest[-1] == 10
    assert len(drawn) == {3: 3, 0.5: 6, 0.3: 4}[size]


@pytest.mark.parametrize("count", [6, 30])
def test_groups_and_times_give_as_many_rows_as_shares_of_the_undivided_ones_and_one_at_least(count):
    for how in ({"groups": np.arange(count)}, {"order": "time"}):
        source = divide(Examples(torch.rand(count, 2)), validation=0.3, test=0.05, **how)
        assert (len(source.validation), len(source.test)) == (round(0.3 * count), max(1, round(0.05 * count)))
