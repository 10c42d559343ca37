"""Every seed divides the data anew, and a budget that the data cannot give fails before the first stage."""

import csv
import json

import numpy as np
import pytest

from aepretrain import Arrays, ConfigError, DataError, DenoisingAutoencoder, Dense, Digits, Experiment, FineTuning
from aepretrain import Pretraining as Lengths
from aepretrain.compare import Comparison, compare
from aepretrain.compare.arms import ARMS
from aepretrain.compare.cells import Bench, Trial
from aepretrain.compare.options import Cell


def experiment(data=None):
    layer = lambda shape: DenoisingAutoencoder(shape, Dense(8))  # noqa: E731
    return Experiment([layer], data or Digits(), Lengths(epochs=1), finetune=FineTuning(1, 64), report=False)


def rows(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_baselines_differ_between_seeds_by_their_test_data_too(tmp_path):
    summary = Comparison(labels=[None], baselines=["knn"], arms=["random"], seeds=2)
    compare(experiment(), summary, tmp_path / "anew")
    found = {row["test_accuracy"] for row in rows(tmp_path / "anew") if row["arm"] == "knn"}
    assert len(found) == 2
    assert json.loads((tmp_path / "anew/summary.json").read_text())["splits"] == "per-seed"
    compare(experiment(), Comparison(**{**vars(summary), "splits": "fixed"}), tmp_path / "fixed")
    assert len({row["test_accuracy"] for row in rows(tmp_path / "fixed") if row["arm"] == "knn"}) == 1


def test_no_test_example_of_a_seed_is_trained_on_by_it(tmp_path):
    bench = Bench(Comparison(seeds=3), [Trial(experiment())], tmp_path)
    for seed in range(3):
        splits = bench.network(ARMS["pretrained"], Cell("pretrained", seed, None), bench.trials[0]).data.splits(seed)
        trained = {row.numpy().tobytes() for row in (*splits.unlabelled, *splits.train.x, *splits.validation.x)}
        assert not any(row.numpy().tobytes() in trained for row in splits.test.x)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (5, ConfigError, r"compare\.labels 5, seed 0: 5 labels are fewer than the 10 classes\. Raise compare\.labels"),
        (5000, DataError, r"compare\.labels 5000, seed 0: class 0 has \d+ training examples, .*Lower compare\.labels"),
    ],
)
def test_a_budget_that_the_data_cannot_give_fails_before_the_first_stage(labels, error, message, tmp_path):
    with pytest.raises(error, match=message):
        compare(experiment(), Comparison(labels=[50, labels]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_that_is_too_rare_for_a_budget_is_named(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32), ["a", "b"] * 58 + ["rare"] * 4
    with pytest.raises(DataError, match=r"compare\.labels 30, seed 0: class rare has 2 training examples"):
        compare(experiment(Arrays(x, y)), Comparison(labels=[30]), tmp_path / "out")
