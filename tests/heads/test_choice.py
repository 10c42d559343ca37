"""Which epoch of a classifier is kept, and what rare classes weigh."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from aepretrain import Arrays, Classifier, ConfigError, FineTuning, RunContext
from aepretrain.finetuning.finetune import finetune
from aepretrain.training.best_weights import BestWeights

QUIET = RunContext(progress=False)


def rare(count=600, share=0.05, apart=1.5):
    """Two overlapping classes, of which the second is rare."""
    generator = np.random.default_rng(0)
    y = (np.arange(count) % round(1 / share) == 0).astype(int)
    return Arrays(generator.normal(size=(count, 6)).astype(np.float32) + apart * y[:, None], y)


def fine_tuned(data, settings=None, **options):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.Tanh()))
    return finetune(Classifier(encoder, 2, **options), data, settings or FineTuning(30, 32), QUIET)


def slow(groups):
    return torch.optim.SGD(groups, lr=0.1)


def test_of_equal_figures_the_epoch_with_the_smaller_loss_is_kept():
    best, module = BestWeights("val/accuracy", "max"), nn.Linear(1, 1)
    for epoch, (accuracy, loss) in enumerate([(0.8, 1.0), (0.8, 0.9), (0.8, 0.95), (0.7, 0.1), (0.8, 0.9)]):
        best.update(module, {"val/accuracy": torch.tensor(accuracy), "val/loss": torch.tensor(loss)}, epoch)
    assert (best.epoch, best.waited) == (1, 3)


def test_a_classifier_whose_accuracy_never_moves_is_not_kept_untrained():
    tuned = fine_tuned(rare(share=0.02, apart=0.3), FineTuning(10, 64), optimizer=slow)
    history = tuned.record.history
    assert len({row["val/accuracy"] for row in history}) == 1
    assert tuned.record.kept_epoch == min(range(10), key=lambda epoch: history[epoch]["val/loss"]) > 0


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "average_precision", "loss"])
def test_the_monitor_chooses_the_epoch(name):
    tuned = fine_tuned(rare(), FineTuning(12, 32, monitor=name))
    sign = -1 if name == "loss" else 1
    scores = [(sign * row[f"val/{name}"], -row["val/loss"]) for row in tuned.record.history]
    assert tuned.record.kept_epoch == max(range(12), key=scores.__getitem__)


def test_an_unknown_monitor_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"finetune\.monitor must be one of accuracy, .* but got 'recall'"):
        fine_tuned(rare(), FineTuning(1, 32, monitor="recall"))


def test_validation_figures_are_those_of_scikit_learn():
    data = rare()
    tuned = fine_tuned(data, FineTuning(5, 32, monitor="average_precision"))
    validation = data.splits().validation
    with torch.no_grad():
        probability = tuned.head(validation.x).softmax(dim=1)
    kept = tuned.record.metrics
    y, answers = validation.y.numpy(), probability.argmax(dim=1).numpy()
    assert kept["val/balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, answers), abs=1e-6)
    one_against_rest = [average_precision_score(y == label, probability[:, label].numpy()) for label in (0, 1)]
    assert kept["val/average_precision"] == pytest.approx(np.mean(one_against_rest), abs=1e-5)
    measured = tuned.head.measure(validation.x, validation.y)
    assert measured.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, answers), abs=1e-6)


def test_balanced_accuracy_leaves_out_classes_that_do_not_occur():
    model, x, y = (
        Classifier(nn.Identity(), 3, code_features=3),
        9 * torch.eye(3)[[0, 0, 1, 2]],
        torch.tensor([0, 0, 1, 1]),
    )
    nn.init.eye_(model.head.weight)
    model.eval().validation_values(x, y)
    assert model.validation_totals()["balanced_accuracy"].item() == 0.75
    assert model.measure(x, y).balanced_accuracy == 0.75


def test_balanced_accuracy_counts_a_class_of_one_example():
    model, x, y = Classifier(nn.Identity(), 3, code_features=3), 9 * torch.eye(3)[[0, 0, 2]], torch.tensor([0, 0, 1])
    nn.init.eye_(model.head.weight)
    model.eval().validation_values(x, y)
    assert model.validation_totals()["balanced_accuracy"].item() == 0.5
    assert model.measure(x, y).balanced_accuracy == 0.5


def test_class_weights_are_the_factors_of_scikit_learn_in_training_alone():
    data = rare()
    y = data.splits().train.y
    model = Classifier(nn.Linear(6, 4), 2, class_weights="balanced")
    nn.init.normal_(model.head.weight)
    model.fit_targets(y)
    weights = compute_class_weight("balanced", classes=np.array([0, 1]), y=y.numpy())
    x, plain = data.splits().train.x, F.cross_entropy(model(data.splits().train.x), y, reduction="none")
    torch.testing.assert_close(model.loss(x, y), plain * torch.tensor(weights, dtype=torch.float32)[y])
    torch.testing.assert_close(model.eval().loss(x, y), plain)


def test_class_weights_find_a_rare_class():
    plain, weighted = (fine_tuned(rare(share=0.04), **options) for options in ({}, {"class_weights": "balanced"}))
    test = rare(share=0.04).splits().test
    recall = [tuned.head.measure(test.x, test.y).per_class.recall[1] for tuned in (plain, weighted)]
    assert recall[1] > recall[0]


@pytest.mark.parametrize("weights", ["uniform", "no", [1.0], [1.0, 0.0], [1.0, float("inf")]])
def test_class_weights_that_are_none_are_refused(weights):
    with pytest.raises(ValueError, match="class_weights must be balanced or 2 positive numbers"):
        Classifier(nn.Linear(6, 4), 2, class_weights=weights)


def test_balanced_weights_without_labels_are_an_error_not_a_guess():
    with pytest.raises(ValueError, match=r"call fit_targets\(y\)"):
        Classifier(nn.Linear(6, 4), 2, class_weights="balanced").loss(torch.rand(3, 6), torch.tensor([0, 1, 1]))
