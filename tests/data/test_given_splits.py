"""Splits that come with the data are kept, row by row; what they leave open is taken from the training rows."""

import numpy as np
import pytest

from aepretrain import Arrays, ConfigError, DataError
from aepretrain.data.given_splits import number_splits
from aepretrain.data.origin import Origin

X = np.arange(180, dtype=np.float32).reshape(60, 3) / 100
Y = np.arange(60) % 3
named = np.array(["train", "train", "train", "val", "test"] * 12)


def first(examples):
    """The numbers of rows."""
    return (examples.x[:, 0] * 100 / 3).round().int().tolist()


def test_rows_are_in_the_split_that_they_name():
    splits = Arrays(X, Y, splits=named).splits()
    for name, word in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert first(getattr(splits, name)) == np.flatnonzero(named == word).tolist()
        assert getattr(splits, name).y.tolist() == Y[named == word].tolist()


def test_usual_spellings_are_known():
    names = ["train", "Training", "VAL", "valid", "validation ", b"test", "Testing"]
    assert number_splits(names, 7, Origin("splits")).tolist() == [0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("open_split", ["validation", "test"])
@pytest.mark.parametrize("how", [{}, {"groups": np.arange(60) // 5}, {"order": "time"}])
def test_a_split_that_no_row_names_is_taken_from_the_training_rows(open_split, how):
    given = "test" if open_split == "validation" else "validation"
    names = np.where(np.arange(60) % 10 < 5, given, "train")
    data = Arrays(X, Y, splits=names, **how)
    splits = data.splits()
    assert first(getattr(splits, given)) == np.flatnonzero(names == given).tolist()
    train, apart = first(splits.train), first(getattr(splits, open_split))
    assert sorted(train + apart) == np.flatnonzero(names == "train").tolist()
    assert len(apart) == pytest.approx(6, abs=1)
    if "groups" in how:
        assert not {row // 5 for row in train} & {row // 5 for row in apart}
    if "order" in how:
        assert max(train) < min(apart)
    if not how:
        assert getattr(splits, open_split).y.bincount().tolist() == [2, 2, 2]
    assert data.own_splits == ("order" in how)
    assert f"as given by data.splits, and {open_split} " in data.notes[-1]


def test_given_splits_are_the_same_for_every_seed_and_the_note_says_so():
    data = Arrays(X, Y, splits=named)
    assert data.with_split(4) is data
    data.source()
    assert data.notes[-1] == (
        "divided as given by data.splits, the same for every seed: 36 training, 12 validation, 12 test examples."
    )


WRONG = {
    "another name": (
        np.where(np.isin(np.arange(60), (7, 9)), "holdout", named),
        "splits: splits must be train, validation or test, but other names stand there: 'holdout' in 2 rows, the first "
        r"of them row 7 \(the first row is 0\)",
    ),
    "numbers": (np.arange(60) % 3, "other names stand there: '0' in 20 rows, .* row 0; '1' in 20 rows, .* row 1; "),
    "empty": (np.where(np.arange(60) == 7, "", named), "splits must not be missing, but 1 of 60 are, .* row 7 "),
    "none": ([None, "train"] * 30, "splits must not be missing, but 30 of 60 are, the first in row 0 "),
    "training alone": (["train"] * 60, "rows for train and for validation or test, but all rows are train"),
    "no training": (["val", "test"] * 30, "but all rows are test or validation"),
    "short": (["train", "test"] * 20, "60 examples need as many splits, but there are 40"),
}


@pytest.mark.parametrize("name", WRONG)
def test_rows_of_no_known_split_are_named_and_counted(name):
    splits, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        Arrays(X, Y, splits=splits)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_size_of_a_split_that_is_given_is_refused(split):
    with pytest.raises(
        ConfigError, match=rf"data\.{split} must be left out where .* given by data\.splits, but is 0\.2"
    ):
        Arrays(X, Y, splits=named, **{split: 0.2})
    only_test = np.where(named == "test", "test", "train")
    assert len(Arrays(X, Y, splits=only_test, validation=0.5).splits().validation) == 24


def test_a_group_in_two_given_splits_is_refused():
    groups = np.arange(60) // 10
    message = (
        r"groups: a group must stand in one split, but row 3 .* is for validation by data.splits, and an earlier row"
    )
    with pytest.raises(DataError, match=message + r" of its group for training \(6 such groups\)"):
        Arrays(X, Y, splits=named, groups=groups)
    names = np.array(["train", "val", "test"])[groups % 3]
    assert len(Arrays(X, Y, splits=names, groups=groups).splits().train) == 20


def test_given_splits_do_not_depend_on_labels():
    splits = Arrays(X, splits=named).splits()
    assert splits.train.y is None
    assert len(splits.test) == 12
