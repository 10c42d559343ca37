"""Features from which the label can be read are named; others are not."""

import numpy as np
import pytest
import torch

from aepretrain import Arrays, MappedArray
from aepretrain.data.leaks import find_leaks
from aepretrain.data.origin import Origin
from tests.support.warned import special_warnings

K = np.arange(3000)
Y = K % 3
NOISE = np.random.default_rng(0).random((3000, 2)).astype(np.float32)
ALMOST = np.where(K == 2999, 7, Y)
CASES = {
    "a copy": (Y, "column 2 tells the label of every row, one to one"),
    "another number for each class": (5.5 - Y, "column 2 tells the label of every row, one to one"),
    "the numbers of the rows": (K + 7, "column 2 only counts the rows"),
    "a copy but for the last row": (ALMOST, None),
    "two values for three classes": (Y // 2, None),
    "a constant": (Y * 0 + 1, None),
    "every second number": (2 * K, None),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_feature_that_tells_the_answer_is_named(name, is_sorted, tmp_path):
    column, message = CASES[name]
    rows = np.argsort(Y, kind="stable") if is_sorted else K
    column = column if "row" in name or "every" in name else column[rows]
    x, y = np.c_[NOISE, column].astype(np.float32), Y[rows]
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    mapped = MappedArray(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), memory_budget="9kB", validation=9, test=9)
    mapped.splits()
    for data in (Arrays(x, y), mapped):
        assert len(special_warnings(data)) == (message is not None)
        assert message is None or message in special_warnings(data)[0]


def test_data_without_labels_and_of_few_rows_have_no_copies():
    assert find_leaks(torch.rand(50, 3), None, Origin("x")) == []
    assert find_leaks(torch.arange(2.0)[:, None], torch.arange(2), Origin("x")) == []
