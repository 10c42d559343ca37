"""What cannot be compared is refused before the first stage, and nothing is written."""

from dataclasses import replace
from typing import ClassVar

import pytest

import aepretrain.compare as module
from aepretrain import Arrays, ConfigError, DataError, FineTuning, TrainerOptions
from aepretrain.compare import Comparison, Trial, compare
from aepretrain.results.cell import read_rows
from tests.support.comparisons import small_data, small_experiment, wide_layer
from tests.support.tables import X, Y

TWO_ARMS = Comparison(arms=["pretrained", "random"], seeds=2, labels=[30], baselines=[])
GRID = {"grid": {"finetune.epochs": [1, 2]}}


def trials(comparison, count):
    return [Trial(small_experiment(finetune=FineTuning(1 + k, 16)), settings={"epochs": k}) for k in range(count)]


class Poor(Arrays):
    """Too few labels in the division of one seed."""

    poor = 1
    drawn: ClassVar[list] = []

    def splits(self, seed=0):
        self.drawn.append((self.split_seed, seed))
        if self.split_seed == self.poor:
            raise DataError("data.labels 30 are too many. Lower data.labels.")
        return super().splits(seed)


@pytest.mark.parametrize("splits", ["per-seed", "fixed"])
def test_the_budget_of_every_seed_is_drawn_before_the_first_stage(splits, tmp_path):
    data, comparison = Poor(X[:60], Y[:60]), replace(TWO_ARMS, splits=splits)
    if splits == "per-seed":
        message = r"^compare\.labels 30, seed 1: compare\.labels 30 are too many\. Lower compare\.labels\.$"
        with pytest.raises(DataError, match=message):
            compare(small_experiment(data=data), comparison, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        compare(small_experiment(data=data), replace(comparison, seeds=1), tmp_path / "out")
        data.memory_limit = 10**9  # to divide a file anew is to read it
        module._check_budgets(data, comparison)
    else:
        module._check_budgets(data, comparison)
    data = Poor(X[:60], Y[:60], split_seed=1)
    with pytest.raises(DataError, match=r"^compare\.labels 30, seed 0: "):
        module._check_budgets(data, replace(comparison, splits="fixed"))


@pytest.mark.parametrize(("splits", "drawn"), [("per-seed", [(0, 0), (1, 1), (2, 2)]), ("fixed", [(0, 0)])])
def test_every_division_that_is_used_is_drawn_once_per_budget(splits, drawn, monkeypatch):
    monkeypatch.setattr(Poor, "drawn", [])
    monkeypatch.setattr(Poor, "poor", None)
    module._check_budgets(Poor(X[:60], Y[:60]), replace(TWO_ARMS, splits=splits, seeds=3, labels=[30, None]))
    assert Poor.drawn == [each for each in drawn for _ in range(2)]


def test_the_budgets_are_those_of_the_data_of_the_trials(tmp_path):
    trial = Trial(small_experiment(data=Poor(X[:60], Y[:60], split_seed=1)))
    message = r"^compare\.labels 30, seed 1: compare\.labels 30 are too many\. Lower compare\.labels\.$"
    with pytest.raises(DataError, match=message):
        module.check_comparison(small_experiment(), TWO_ARMS, None, [trial])
    module.check_comparison(trial.experiment, TWO_ARMS, None, [Trial(small_experiment())])


CONTROL = ["control-random"]


@pytest.mark.parametrize(
    ("changes", "options", "more", "message"),
    [
        ({"data": Arrays(X[:60])}, {}, {}, "a comparison needs labels"),
        ({"finetune": FineTuning(0)}, {}, {}, "a comparison needs labels"),
        ({"trainer": TrainerOptions(devices=2)}, {}, {}, "Set trainer.devices to 1"),
        ({"trainer": TrainerOptions(num_nodes=2)}, {}, {}, "Set trainer.devices to 1"),
        ({}, {"arms": CONTROL}, {}, "compare.arms name a control, but there is none"),
        ({}, {}, {"control": small_experiment(wide_layer)}, "there is a control, but no arm uses it"),
        ({}, {"arms": CONTROL}, {"control": small_experiment(finetune=FineTuning(0))}, "a comparison needs labels"),
        (
            {}, {"arms": CONTROL}, {"control": small_experiment(trainer=TrainerOptions(devices=2))},
            "Set trainer.devices to 1",
        ),
        ({}, GRID, {}, "compare.grid has 2 combinations, but 0 trials are given"),
        ({}, GRID, {"trials": trials(None, 1)}, "compare.grid has 2 combinations, but 1 trials are given"),
        ({}, {}, {"trials": trials(None, 2)}, "compare.grid has 1 combinations, but 2 trials are given"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_and_nothing_is_written(changes, options, more, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        compare(small_experiment(**changes), Comparison(seeds=1, **options), tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_one_trial_takes_the_place_of_the_experiment_and_one_device_may_be_a_text(tmp_path):
    trial = Trial(small_experiment(finetune=FineTuning(3, 16)), settings={"epochs": 3})
    experiment = small_experiment(trainer=TrainerOptions(devices="1", accelerator="cpu"))
    compare(experiment, Comparison(arms=["random"], seeds=1, labels=[30], baselines=[]), tmp_path, trials=[trial])
    (row,) = read_rows(tmp_path / "results.csv")
    assert (row.epochs, row.hyperparameters) == (3, {"epochs": "3"})
    assert (
        small_data().fingerprint().digest in (tmp_path / "data.json").read_text() or (tmp_path / "data.json").is_file()
    )
