"""What looks wrong with data is said by name and number, and only where it is true."""

import numpy as np
import pytest
import torch

from aepretrain import Arrays, Digits, OneHotPatterns
from aepretrain.data.examples import Examples, Source
from aepretrain.data.inspection import shared_rows, unscaled_features


def warnings_of(data):
    data.source()
    return " ".join(data.warnings)


def test_columns_of_unequal_size_are_named_the_largest_first():
    x = np.random.default_rng(0).normal(size=(100, 3)) * [1, 300, 5] + [0, 700, 32768]
    data = Arrays(x.astype(np.float32))
    data.columns = ["ratio", "proline", "offset"]
    said = warnings_of(data)
    assert "2 of 3 features are far from unit scale: 'offset' (mean 3.28e+04, deviation" in said
    assert "'proline' (mean 6" in said
    assert "'ratio'" not in said
    assert "data.transform standardize" in said


def test_scaled_features_and_pictures_are_not_named():
    x = np.random.default_rng(0).normal(size=(100, 3)) * [1, 300, 5] + [0, 700, 32768]
    assert "unit scale" not in warnings_of(Arrays(x.astype(np.float32), transform="standardize"))
    assert warnings_of(Digits()) == ""
    assert warnings_of(OneHotPatterns()) == ""


def test_features_that_hardly_vary_are_named():
    x = 1 + 1e-4 * np.random.default_rng(0).normal(size=(100, 3))
    assert "no feature varies by more than 0.0001" in warnings_of(Arrays(x.astype(np.float32)))


def test_pieces_give_the_figures_of_the_whole(monkeypatch):
    x = 1000 + torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    whole = unscaled_features(x)
    monkeypatch.setattr("aepretrain.data.rows.PIECE", 64)
    assert unscaled_features(x) == whole


@pytest.mark.parametrize("copies", [0, 1, 40])
def test_rows_in_two_splits_are_counted(copies):
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    x[200 - copies :] = x[0]
    data = Arrays(x)
    source = data.source()
    train = {tuple(row) for row in source.train.x.tolist()}
    for split in ("validation", "test"):
        rows = getattr(source, split).x.tolist()
        count = sum(tuple(row) in train for row in rows)
        said = f"{count} of {len(rows)} {split} examples"
        assert (said in warnings_of(data)) == (count > 0)


def test_rows_that_differ_in_one_bit_are_not_the_same():
    x = torch.zeros(2, 3)
    x[1, 2] = 1e-45
    assert shared_rows(Source(Examples(x[:1]), Examples(x[1:]), Examples(x[1:]))) == []
