"""Labels of any kind become classes in sorted order, in every source, or are refused by what is wrong with them."""

from datetime import date
from decimal import Decimal

import numpy as np
import pytest
import scipy.sparse
import torch

from aepretrain import Arrays, ConfigError, DataError, MappedArray
from aepretrain.data.labels import number_classes
from aepretrain.data.npy import read_labels
from aepretrain.data.origin import Origin

K = np.arange(60)
X = np.random.default_rng(0).random((60, 4)).astype(np.float32)


class Missing:
    """Like pandas' NA: it cannot even be compared."""

    def __eq__(self, other):
        return self

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None


Missing.__name__ = "NAType"


class Series:
    """Like a column of pandas: it becomes an array of Python's objects."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=object)


CLASSES = {
    "10, 20, 30": ((K % 3 + 1) * 10, ["10", "20", "30"]),
    "250000": (K % 2 + 250_000, ["250000", "250001"]),
    "a gap": (np.array([0, 1, 5])[K % 3], ["0", "1", "5"]),
    "-1 and 1": (np.array([-1, 1])[K % 2], ["-1", "1"]),
    "uint64": ((K % 2).astype(np.uint64) + np.uint64(2**63), [str(2**63), str(2**63 + 1)]),
    "huge": ([10**30, 10**31] * 30, [str(10**30), str(10**31)]),
    "whole floats": (K % 3 * 10.0, ["0", "10", "20"]),
    "half precision": ((torch.arange(60) % 2 + 7).half(), ["7", "8"]),
    "booleans": (K % 2 == 0, ["False", "True"]),
    "a list of booleans": ([True, False] * 30, ["False", "True"]),
    "strings": (np.array(["dog", "cat", "cow"])[K % 3], ["cat", "cow", "dog"]),
    "a list of strings": (["b", "a"] * 30, ["a", "b"]),
    "digits as text": ([str(k % 3) for k in K], ["0", "1", "2"]),
    "bytes": (np.array([b"x", b"y"])[K % 2], ["x", "y"]),
    "a series": (Series(["b", "a"] * 30), ["a", "b"]),
    "decimals": ([Decimal(1), Decimal(2)] * 30, ["1", "2"]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_the_labels_that_occur_are_the_classes_in_sorted_order(name):
    values, names = CLASSES[name]
    data = Arrays(X, values)
    assert (data.class_names, data.num_classes) == (names, len(names))
    plain = list(np.asarray(values).tolist()) if not isinstance(values, Series) else values.values
    expected = [sorted(set(plain)).index(value) for value in plain]
    assert data.y.tolist() == expected
    assert data.y.dtype == torch.int64
    assert names[0] in " ".join(data.notes)


@pytest.mark.parametrize(
    "values",
    [
        K % 3,
        (K % 3).tolist(),
        (K % 3).astype(np.uint64),
        (K % 3).astype(np.int8),
        (K % 3).astype(">i4"),
        K % 3 * 1.0,
        torch.arange(60) % 3,
        (torch.arange(60) % 3).bfloat16(),
        Series((K % 3).tolist()),
        np.ma.array(K % 3),
    ],
)
def test_labels_from_0_without_gaps_stay_as_they_are(values):
    data = Arrays(X, values)
    assert data.class_names is None
    assert torch.equal(data.y, torch.arange(60) % 3)


WRONG = {
    "infinity": (np.where(K == 7, np.inf, K % 3), "must be finite, but 1 of 60 are infinite, the first in row 7 "),
    "infinity among numbers": (np.where(K == 7, -np.inf, K / 7), "real targets must be finite, but 1 of 60 .* row 7 "),
    "infinity after a hole": (np.where(K == 7, np.inf, np.where(K < 2, np.nan, K % 3)), "the first in row 7 "),
    "NaT": (np.full(60, np.datetime64("NaT", "s")), "all labels are missing. Leave them out, or fill in some"),
    "one number": (np.full(60, 0.5), "real targets must differ, but all are 0.5. Leave them out"),
    "a clock": (1.7e9 + K / 60, "column of targets has values too close for float32"),
    "one class": (np.full(60, 3), "at least 2 classes, but all are 3. Leave them out"),
    "one word": (["a"] * 60, "at least 2 classes, but all are a. Leave them out"),
    "an id": (K, "look like an id or a measurement: 60 different values in 60 examples, such as 0, 1, 2"),
    "an id in words": ([f"n{k}" for k in K], "look like an id or a measurement"),
    "a column": ((K % 3)[:, None], r"shape \(60,\), but have \(60, 1\). Flatten them: y.ravel\(\)"),
    "one-hot": (np.eye(3)[K % 3], r"shape \(60,\), but have \(60, 3\). They are one-hot: give y.argmax\(axis=1\)"),
    "two columns": (np.ones((60, 2)), r"shape \(60,\), but have \(60, 2\). Give one label per example"),
    "short": (K[:50] % 3, "60 examples need as many labels, but there are 50"),
    "dates": (np.datetime64("2020-01-01") + K % 2, "whole numbers or names, but are dates"),
    "objects": ([date(2020, 1, 1), date(2020, 1, 2)] * 30, "row 0 .* holds a date"),
    "mixed": ([1, "a", 1] * 20, "must be of one kind, but most are numbers and row 1 .* holds 'a'"),
    "complex": (K % 2 * 1j, "whole numbers or names, but are complex numbers"),
    "sparse": (scipy.sparse.csr_array(np.eye(60)), "must be dense, but are sparse"),
    "ragged": ([[1], [1, 2]] * 30, "must be one value per example"),
}


def test_fractions_are_no_classes_even_if_classes_are_asked_for():
    with pytest.raises(DataError, match=r"must be whole numbers.* 0\.14.* in row 1 .*Set data.target_type real"):
        Arrays(X, K / 7, target_type="class")


UNLABELLED = {
    "NaN": (np.where(K % 5 == 3, np.nan, K % 3), K % 5 == 3),
    "None": ([None if k % 5 == 3 else k % 3 for k in K.tolist()], K % 5 == 3),
    "NA": (Series([Missing() if k % 5 == 3 else k % 3 for k in K.tolist()]), K % 5 == 3),
    "text and NaN": ([float("nan") if k % 5 == 3 else "abc"[k % 3] for k in K], K % 5 == 3),
    "empty text": (np.where(K % 5 == 3, " ", np.array(["a", "b", "c"])[K % 3]), K % 5 == 3),
    "masked": (np.ma.array(K % 3, mask=K % 5 == 3), K % 5 == 3),
    "-1": (np.where(K % 5 == 3, -1, K % 3), K % 5 == 3),
    "-1 as a float": (torch.where(torch.arange(60) % 5 == 3, -1.0, torch.arange(60) % 3), K % 5 == 3),
    "-1 in objects": (Series([-1 if k % 5 == 3 else k % 3 for k in K.tolist()]), K % 5 == 3),
    "-100": (np.where(K % 5 == 3, -100, K % 3), K % 5 == 3),
    "-1 and NaN": (np.where(K % 5 == 3, np.nan, np.where(K % 5 == 1, -1, K % 3)), np.isin(K % 5, (1, 3))),
}
"""By name: labels of three classes, and which rows have none."""


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("name", UNLABELLED)
def test_a_label_that_is_missing_marks_a_row_for_pretraining_alone(name, num_classes):
    values, missing = UNLABELLED[name]
    data = Arrays(X, values, num_classes=num_classes)
    assert data.num_classes == 3
    assert data.y.tolist() == (K % 3)[~missing].tolist()
    splits = data.splits()
    known = {tuple(row) for row in X[~missing].tolist()}
    for part in (splits.train, splits.validation, splits.test):
        assert {tuple(row) for row in part.x.tolist()} <= known
    pool = {tuple(row) for row in splits.unlabelled.tolist()}
    assert pool == {tuple(row) for row in X[missing].tolist()} | {tuple(row) for row in splits.train.x.tolist()}
    assert f"{missing.sum()} rows without a label: they are for pretraining alone." in data.notes


@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_are_refused_in_one_line(name):
    values, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        Arrays(X, values)
    assert "\n" not in str(caught.value)
    assert "y.long()" not in str(caught.value)


def test_a_given_number_of_classes_means_that_labels_are_their_numbers():
    data = Arrays(X, np.array([0, 5])[K % 2], num_classes=7)
    assert (data.num_classes, data.class_names, data.y.max()) == (7, None, 5)
    with pytest.raises(DataError, match=r"must lie in \[0, 2\], but reach from 10 to 30. Leave data.num_classes out"):
        Arrays(X, (K % 3 + 1) * 10, num_classes=3)
    with pytest.raises(DataError, match=r"name 2 classes \(a, b\), but data.num_classes is 3"):
        Arrays(X, ["a", "b"] * 30, num_classes=3)
    with pytest.raises(ConfigError, match="num_classes must be >= 2, but got 1"):
        Arrays(X, K % 2, num_classes=1)


def test_marks_of_missing_labels_that_may_be_classes_are_warned_of():
    assert (
        "-1 marks 20 rows without a label. If it is a class, write the labels as text"
        in Arrays(X, K % 3 - 1).warnings[0]
    )
    assert Arrays(X, (K % 3 - 1).astype(str)).class_names == ["-1", "0", "1"]
    assert "a class is called 'nan'" in Arrays(X, np.array(["nan", "b"])[K % 2]).warnings[0]
    assert Arrays(X, np.array([-1, 1])[K % 2]).warnings == []


@pytest.mark.parametrize(
    "values", [np.array(["b", "a"])[K % 2], np.array([b"b", b"a"])[K % 2], K % 2 == 0, K % 2 * 2.0]
)
def test_a_file_of_labels_may_hold_what_an_array_may(values, tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", values)
    data, same = MappedArray(str(tmp_path / "x.npy"), str(tmp_path / "y.npy")), Arrays(X, values)
    assert data.class_names == same.class_names
    assert torch.equal(data.y, same.y)
    assert data.splits().test.y.bincount().tolist() == [6, 6]
    assert np.array_equal(read_labels(tmp_path / "y.npy"), values)


def test_a_class_that_is_too_small_for_a_balanced_choice_is_named_as_the_user_does():
    y = np.where(K % 10 == 0, "rare", "usual")
    with pytest.raises(DataError, match="class rare has 4 training examples"):
        Arrays(X, y, labels=20).splits()


def test_a_class_of_one_example_is_for_training_and_named_as_the_user_does():
    data = Arrays(X, np.where(K == 5, "rare", np.array(["a", "b"])[K % 2]))
    splits = data.splits()
    assert data.class_names[2] == "rare"
    assert [(part.y == 2).sum().item() for part in (splits.train, splits.validation, splits.test)] == [1, 0, 0]
    assert "test split: no example of 'rare'. Give more examples, or merge rare classes." in data.warnings


def test_rows_of_several_files_are_numbered_in_their_own_file():
    origin = Origin("kind", [("a.parquet", 10), ("b.parquet", 10)])
    with pytest.raises(DataError, match=r"the first in row 3 of b\.parquet"):
        number_classes(np.where(np.arange(20) == 13, np.nan, 0), 20, None, origin)
