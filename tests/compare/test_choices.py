"""What is chosen is chosen on validation data: wrong labels in the test set change its figures and nothing else."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.optim import Adam

from aepretrain import Classifier, DenoisingAutoencoder, Dense, Digits, Experiment, FineTuning, Pretraining
from aepretrain.compare import Bench, Cell, Comparison, Trial
from aepretrain.compare.arms import ARMS
from aepretrain.data.examples import Examples
from aepretrain.evaluation.baselines import measure_baseline
from aepretrain.results.run import RunResult
from aepretrain.runs.loading import load_head


class Poisoned(Digits):
    """Digits, in one split of which every label is wrong: nearly all are 0, as an untrained classifier answers."""

    split = "test"

    def splits(self, seed=0):
        whole = super().splits(seed)
        examples = getattr(whole, self.split)
        return replace(whole, **{self.split: Examples(examples.x, (examples.y == 0).long())})


class PoisonedValidation(Poisoned):
    split = "validation"


def layer(shape):
    return DenoisingAutoencoder(shape, Dense(16))


def trials(data, rates):
    lengths = {"pretrain": Pretraining(epochs=1), "finetune": FineTuning(4, 16), "report": False}
    classifiers = [partial(Classifier, optimizer=partial(Adam, lr=rate)) for rate in rates]
    return [
        Trial(Experiment([layer], data, classifier=classifier, **lengths), settings={"lr": rate})
        for classifier, rate in zip(classifiers, rates, strict=True)
    ]


def run(data, folder, arm="random", seed=0, splits="per-seed", rates=(0.0, 0.03, 1e-4)):
    """The row of a cell, and what its files say."""
    comparison = Comparison(arms=["random", "pretrained"], seeds=2, labels=[100], baselines=[], splits=splits)
    bench, cell = Bench(comparison, trials(data, rates), folder / type(data).__name__), Cell(arm, seed, 100)
    row = bench.run(cell)
    return row, RunResult.read(bench.runs / cell.name / "results.json").classifier, bench


@pytest.mark.parametrize(("seed", "splits"), [(0, "per-seed"), (1, "fixed")])
def test_wrong_test_labels_change_no_choice_of_a_cell_and_its_test_figures_alone(tmp_path, seed, splits):
    right, found, _ = run(Digits(), tmp_path, seed=seed, splits=splits)
    wrong, misled, _ = run(Poisoned(), tmp_path, seed=seed, splits=splits)
    assert right.hyperparameters == wrong.hyperparameters == {"lr": 0.03}
    assert right.validation_accuracy == wrong.validation_accuracy > 0.5
    assert (found.kept_epoch, found.epochs, found.steps) == (misled.kept_epoch, misled.epochs, misled.steps)
    assert found.validation == misled.validation
    assert wrong.test_accuracy < 0.2 < 0.5 < right.test_accuracy


def test_wrong_validation_labels_mislead_the_choice_and_not_the_test(tmp_path):
    row, found, _ = run(PoisonedValidation(), tmp_path)
    assert row.hyperparameters == {"lr": 0.0}
    assert row.validation_accuracy == found.validation.accuracy > 0.8
    assert row.test_accuracy == found.test.accuracy < 0.2


@pytest.mark.parametrize("data", [Digits, Poisoned, PoisonedValidation])
def test_both_figures_of_a_cell_are_those_of_its_saved_weights_on_either_split(data, tmp_path):
    row, found, bench = run(data(), tmp_path, rates=(0.03,))
    cell = Cell("random", 0, 100)
    experiment = bench.network(ARMS["random"], cell, bench.trials[0])
    model, splits = load_head(experiment, bench.runs / cell.name), experiment.data.splits(0)
    for name, recorded in (("validation", row.validation_accuracy), ("test", row.test_accuracy)):
        x, y = getattr(splits, name).tensors()
        with torch.no_grad():
            right = (model(x).argmax(dim=1) == y).sum().item()
        assert recorded == right / len(y) == getattr(found, name).accuracy
        assert getattr(found, name).examples == len(y)


@pytest.mark.parametrize("name", ["logistic", "knn", "svm"])
def test_wrong_test_labels_change_no_setting_of_a_baseline(name):
    right, wrong = (measure_baseline(name, data(labels=60).splits(1)) for data in (Digits, Poisoned))
    assert right.hyperparameters == wrong.hyperparameters
    assert right.validation_accuracy == wrong.validation_accuracy > 0.5
    assert wrong.test_accuracy < 0.3 < 0.5 < right.test_accuracy
