"""Inputs of any type are float32 that drop nothing which matters, or are refused by row and column."""

from decimal import Decimal

import numpy as np
import pytest
import scipy.sparse
import torch

from aepretrain import Arrays, DataError

K = np.arange(60)
X = np.random.default_rng(0).random((60, 4))


def changed(row, column, value):
    x = X.copy()
    x[row, column] = value
    return x


WRONG = {
    "masked": (np.ma.array(X, mask=changed(13, 2, 9.0) > 1), "must not be masked, but 1 of 60 .* the first in row 13 "),
    "complex": (X * 1j, "must be real numbers, but are complex128"),
    "a complex tensor": (torch.ones(60, 2, dtype=torch.complex64), "must be real numbers, but are complex64"),
    "too large": (changed(13, 2, 1e300), r"must fit float32.* column 2 is 1e\+300 in row 13 "),
    "a clock": (np.c_[X, 1.7e9 + K], "column 4 has values too close for float32.* of 60 different values.* 1 is left"),
    "whole seconds": (np.c_[K % 7, 1_700_000_000 + K], "column 1 has values too close for float32"),
    "nanoseconds": (1_700_000_000_000_000_000 + np.c_[K, K] * 10**9, "column 0 has values too close for float32"),
    "beyond 2**24": (2**24 + np.c_[K, K], "column 0 has values too close for float32"),
    "a clock with zeros": (np.c_[X, np.where(K % 20, 1.7e9 + K, 0)], "column 4 has values too close"),
    "a clock in a tensor": (torch.arange(1_700_000_000, 1_700_000_060)[:, None], "column 0 has values too close"),
    "a sparse clock": (scipy.sparse.csr_array(np.c_[1.7e9 + K, K]), "column 0 has values too close for float32"),
    "denormal": (np.c_[X, K * 1e-300], "column 4 has values too close for float32"),
    "NaN": (changed(13, 2, np.nan), "must be finite, but 1 of 60 examples have NaN .* first in row 13, column 2 "),
    "sparse NaN": (scipy.sparse.csr_array(changed(13, 2, np.nan)), "the first in row 13, column 2 "),
    "None": (np.array([[1.0, None]] * 60), "must be finite, but 60 of 60 .* first in row 0, column 1 "),
    "an endless number": ([[10**400, 1]] * 60, "must fit float32, but a whole number is too large"),
    "text among objects": (np.array([[1, "a"]] * 60, object), "row 0 .* holds 'a', which is a str"),
    "text": (np.array([["1", "2"]] * 60), "must be numbers, but are text"),
    "dates": (np.full((60, 2), np.datetime64("2020-01-01")), "must be numbers, but are dates"),
    "records": (np.zeros((60, 2), dtype=[("a", "i4")]), "must be numbers, but are records"),
    "ragged": ([[1, 2], [3]] * 30, "must be numbers in an array or a tensor"),
    "a sparse row": (scipy.sparse.coo_array(K), r"need the shape \(N, ...\), but have \(60,\)"),
    "sparse and complex": (scipy.sparse.eye(60) * 1j, "must be real numbers, but are complex128"),
}


@pytest.mark.parametrize("name", WRONG)
def test_inputs_that_float32_would_change_are_refused_in_one_line(name):
    x, message = WRONG[name]
    with pytest.raises(DataError, match=message) as caught:
        Arrays(x)
    assert "\n" not in str(caught.value)


TAKEN = {
    "a constant": np.c_[X, np.full(60, 1.7e9 + 1)],
    "large numbers": X * 1e9,
    "scattered ids": np.random.default_rng(0).integers(0, 2**40, (60, 2)),
    "an unmasked masked array": np.ma.array(X),
    "float16": X.astype(np.float16),
    "another byte order": X.astype(">f4"),
    "backwards": X[::-1].astype(np.float32)[::-1],
    "booleans": X > 0.5,
    "objects": X.astype(object),
    "decimals": np.array([[Decimal("0.5"), True]] * 60),
    "a list": X.tolist(),
}


@pytest.mark.parametrize("name", TAKEN)
def test_inputs_of_any_type_are_taken(name):
    x = TAKEN[name]
    expected = torch.from_numpy(np.array(np.asarray(x).tolist(), np.float64)).float()
    assert torch.equal(Arrays(x).x, expected)


def test_an_array_that_cannot_be_written_is_taken_without_a_warning():
    x = X.astype(np.float32)
    x.flags.writeable = False
    assert torch.equal(Arrays(x).x, torch.from_numpy(x.copy()))


@pytest.mark.parametrize("kind", ["csr", "coo", "tensor"])
def test_sparse_inputs_are_made_dense_and_a_note_says_so(kind):
    dense = np.where(X > 0.8, X, 0).astype(np.float32)
    sparse = torch.from_numpy(dense).to_sparse() if kind == "tensor" else scipy.sparse.coo_array(dense).asformat(kind)
    data = Arrays(sparse)
    assert torch.equal(data.x, torch.from_numpy(dense))
    assert "Arrays: sparse inputs of shape (60, 4) were made dense, 960 B." in data.notes


def test_sparse_inputs_beyond_the_memory_are_refused_in_bytes():
    x = scipy.sparse.coo_array(([1.0], ([0], [0])), shape=(10**7, 10**7))
    with pytest.raises(DataError, match=r"shape \(10000000, 10000000\) need 800,000,000,000,000 bytes"):
        Arrays(x)


def test_the_row_of_an_input_without_a_label_is_named():
    with pytest.raises(DataError, match=r"Arrays, more_inputs: .* the first in row 13, column 2 "):
        Arrays(X, more_inputs=changed(13, 2, np.inf))


def test_scaling_beyond_float32_names_the_row_of_the_user():
    x = K[:, None] * 1e-30
    row = round(Arrays(x).splits().test.x[0].item() / 1e-30)
    x[row] = 1e30
    with pytest.raises(DataError, match=rf"Arrays, every feature standardized .* row {row}, column 0 "):
        Arrays(x, transform="standardize").splits()


def test_a_value_of_a_series_or_picture_is_named_by_its_position():
    x = np.ones((60, 12, 25))
    for value, message in (
        (np.nan, r"row 13, position \[1, 2\] \(the first"),
        (1e300, r"position \[1, 2\] is 1e\+300"),
    ):
        x[13, 1, 2] = value
        with pytest.raises(DataError, match=message):
            Arrays(x)
    x[:, 1, 2] = 500.0
    data = Arrays(x)
    data.source()
    assert any("far from unit scale: position [1, 2] (mean 500, deviation 0)" in each for each in data.warnings)


@pytest.mark.parametrize("kind", [torch.float8_e5m2, torch.float8_e4m3fn])
def test_numbers_that_numpy_knows_by_name_alone_are_refused(kind):
    pytest.importorskip("ml_dtypes")  # gives NumPy their names
    x = torch.zeros(60, 4).to(kind)
    with pytest.raises(DataError, match=rf"inputs must be plain numbers, but are {kind}\. Give x\.float\(\)\."):
        Arrays(x, torch.arange(60) % 3)
