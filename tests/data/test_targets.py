"""Which targets are classes and which are real numbers: the stated rule, in every source, and what overrides it."""

from decimal import Decimal

import numpy as np
import pytest
import torch

from aepretrain import Arrays, ConfigError, DataError, MappedArray
from aepretrain.data.base import random_subset
from aepretrain.data.targets import is_measured

K = np.arange(120)
DRAWN = np.random.default_rng(0)
X = DRAWN.random((120, 4)).astype(np.float32)
REAL = DRAWN.normal(50, 9, 120)

MEASURED = {
    "fractions": (REAL, True),
    "one fraction": (np.where(K == 5, 0.5, K % 3), True),
    "few values with fractions": (np.array([0.5, 1.0, 1.5])[K % 3], True),
    "whole floats of few values": (K % 3 * 10.0, False),
    "20 values with gaps": (K % 20 * 7, False),
    "21 values with gaps": (K % 21 * 7, True),
    "21 values without gaps": (K % 21 + 5, False),
    "10 examples of each value": (np.repeat(np.arange(21) * 7, 10), False),
    "fewer than 10 examples of each value": (np.repeat(np.arange(21) * 7, 10)[:-1], True),
    "an id that ascends": (K * 3, False),
    "the same in another order": (DRAWN.permutation(K * 3), True),
    "Python's numbers": (np.array([float(v) for v in REAL], dtype=object), True),
    "decimals": (np.array([Decimal(1), Decimal("2.5")] * 60, dtype=object), True),
    "booleans": (K % 2 == 0, False),
    "a list of booleans": (np.array([True, False] * 60, dtype=object), False),
    "numbers as text": (np.array([f"{v:.3f}" for v in REAL], dtype=object), False),
    "dates": (np.datetime64("2020-01-01") + K, False),
    "complex numbers": (REAL * 1j, False),
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_rule_tells_real_targets_from_classes(name):
    values, is_real = MEASURED[name]
    assert is_measured(values) == is_real


def sources(values, folder):
    """The same rows and targets as every source of numbers reads them."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from aepretrain import ParquetFolder, Table

    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", values)
    table = pa.table({f"c{k}": X[:, k] for k in range(4)} | {"y": values})
    pq.write_table(table, folder / "t.parquet")
    cache = {"cache": folder / "cache"}
    return {
        "Arrays": lambda **settings: Arrays(X, values, **settings),
        "tensors": lambda **settings: Arrays(torch.from_numpy(X), torch.from_numpy(values), **settings),
        "MappedArray": lambda **settings: MappedArray(folder / "x.npy", folder / "y.npy", **settings),
        "ParquetFolder": lambda **settings: ParquetFolder(folder / "t.parquet", "y", **cache, **settings),
        "Table": lambda **settings: Table(folder / "t.parquet", "y", **cache, **settings),
        "a frame": lambda **settings: Table(table, "y", **settings),
    }


def test_a_real_target_is_found_by_every_source(tmp_path):
    for name, source in sources(REAL, tmp_path).items():
        data = source()
        assert (data.num_classes, data.num_targets, data.class_names) == (None, 1, None), name
        splits = data.splits()
        found = torch.cat([splits.train.y, splits.validation.y, splits.test.y]).sort().values
        torch.testing.assert_close(found, torch.from_numpy(np.sort(REAL)).float(), msg=name)
        assert any("the target is real, from" in note for note in data.notes), name
        assert str(data).endswith("with a real target"), name
        assert "stratified" not in " ".join(data.notes), name


def test_the_type_of_a_target_can_be_named_in_every_source(tmp_path):
    whole = DRAWN.permutation(K % 24 * 7)
    for name, source in sources(whole, tmp_path).items():
        assert source().num_targets == 1, name
        classes = source(target_type="class")
        assert (classes.num_classes, classes.num_targets) == (24, None), name
        assert classes.class_names[:3] == ["0", "7", "14"], name
    (tmp_path / "few").mkdir()
    for name, source in sources(K % 3, tmp_path / "few").items():
        assert source().num_classes == 3, name
        assert source(target_type="real").num_targets == 1, name


def test_many_classes_of_few_examples_are_classes_if_the_user_says_so():
    words = [f"kind {k % 80}" for k in K]
    with pytest.raises(DataError, match=r"look like an id .* Set data.target_type class if they are classes"):
        Arrays(X, words)
    assert Arrays(X, words, target_type="class").num_classes == 80
    with pytest.raises(DataError, match=r"Set data.target_type real to predict numbers, data.target_type class if"):
        Arrays(X, K)
    assert Arrays(X, K, target_type="real").num_targets == 1


def test_settings_of_targets_that_contradict_are_refused():
    with pytest.raises(ConfigError, match=r"num_classes is for classes, but data.target_type is real"):
        Arrays(X, K % 3, num_classes=3, target_type="real")
    with pytest.raises(ConfigError, match=r"target_type must be auto, class, real, but is 'number'"):
        Arrays(X, K % 3, target_type="number")
    with pytest.raises(
        DataError, match=r"real targets must be numbers, but row 0 .* holds cat. Leave data.target_type"
    ):
        Arrays(X, ["cat", "dog"] * 60, target_type="real")
    assert Arrays(X, K % 3, num_classes=5).num_classes == 5
    assert Arrays(X, REAL - REAL % 1, num_classes=200).num_classes == 200


@pytest.mark.parametrize("mark", [-1.0, -100.0])
def test_among_real_targets_a_negative_number_is_a_value(mark):
    y = REAL.copy()
    y[::10] = mark
    data = Arrays(X, y)
    assert len(data.y) == 120
    assert data.y.min() == mark


def test_a_label_budget_of_real_targets_is_drawn_by_the_seed_and_grows_by_adding():
    data = Arrays(X, REAL)
    small, large = (data.with_labels(count).splits(3).train for count in (10, 30))
    assert len(small) == 10
    assert torch.equal(large.y[:10], small.y)
    assert not torch.equal(data.with_labels(10).splits(4).train.y, small.y)
    assert len(data.with_labels(72).splits().train) == 72
    with pytest.raises(DataError, match=r"72 training examples with a target, but data.labels asks for 73. Lower it"):
        data.with_labels(73).splits()
    with pytest.raises(ConfigError, match=r"1 labels do not tell a spread"):
        data.with_labels(1).splits()
    assert sorted(random_subset(9, 9, seed=1).tolist()) == list(range(9))


def test_a_change_of_a_real_target_is_noticed():
    changed = REAL.copy()
    changed[7] += 1e-3
    assert Arrays(X, REAL).fingerprint().changes(Arrays(X, changed).fingerprint()) == ["the labels (other values)"]


def test_targets_of_a_source_of_ones_own_are_checked():
    class Own(Arrays):
        def load(self):
            source = super().load()
            source.test.y[0] = float("nan")
            return source

    with pytest.raises(DataError, match=r"test split: real targets must be finite float32"):
        Own(X, REAL).splits()
