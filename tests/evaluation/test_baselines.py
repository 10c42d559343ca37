"""Baselines give the answers of scikit-learn, also with few labels."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from aepretrain import Arrays, Digits
from aepretrain.evaluation.baselines import CLASSIFIERS, FOR_TABLES, measure_baseline
from tests.support.tables import X, Y

BY_HAND = {
    "logistic": ("C", (0.001, 0.01, 0.1, 1.0), 20_000, lambda C: make_pipeline(
        StandardScaler(), LogisticRegression(C=C, max_iter=200, tol=1e-3)
    )),
    "knn": ("k", (1, 3, 5, 9), 60_000, lambda k: KNeighborsClassifier(k)),
    "svm": ("C", (1.0, 10.0), 10_000, lambda C: SVC(C=C)),
    "boosting": ("learning_rate", (0.03, 0.1), 100_000, lambda rate: HistGradientBoostingClassifier(
        learning_rate=rate, max_iter=200, random_state=0, min_samples_leaf=6
    )),
}  # fmt: skip
"""By name: the setting, its grid, the most examples, and the classifier of scikit-learn for 60 examples."""


@pytest.fixture(scope="module")
def splits():
    """Sixty labelled examples of three classes that overlap."""
    return Arrays(X, Y, labels=60).splits()


def by_hand(name, splits, most=None, grid=None):
    """Validation and test accuracy by setting."""
    train, validation, test = (
        (part.x.numpy(), part.y.numpy()) for part in (splits.train, splits.validation, splits.test)
    )
    found = {}
    for value in grid or BY_HAND[name][1]:
        model = BY_HAND[name][3](value).fit(train[0][:most], train[1][:most])
        found[value] = (model.score(*validation), model.score(*test))
    return found


@pytest.mark.parametrize("name", BY_HAND)
def test_a_baseline_is_that_of_scikit_learn_with_the_setting_that_validation_chose(name, splits):
    setting, grid, most, _ = BY_HAND[name]
    baseline = CLASSIFIERS[name]
    assert (baseline.setting, tuple(baseline.grid), baseline.most) == (setting, grid, most)
    scores, found = by_hand(name, splits), measure_baseline(name, splits)
    best = max(grid, key=lambda value: scores[value][0])
    assert found.hyperparameters == {setting: best}
    assert (found.validation_accuracy, found.test_accuracy) == scores[best]
    assert 0 < found.seconds < 60


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_baseline_reads_images(name):
    assert measure_baseline(name, Digits(labels=300).splits()).test_accuracy > 0.8


def test_the_baselines_for_tables_are_the_boosted_trees():
    assert list(CLASSIFIERS) == list(BY_HAND)
    assert FOR_TABLES == ("boosting",)


def test_of_more_examples_than_a_baseline_takes_the_first_are_taken_and_counted(splits, monkeypatch):
    for most in (20, 59, 60, 61):
        monkeypatch.setitem(CLASSIFIERS, "knn", replace(CLASSIFIERS["knn"], most=most))
        scores, found = by_hand("knn", splits, most), measure_baseline("knn", splits)
        k = max(scores, key=lambda value: scores[value][0])
        assert found.hyperparameters == {"k": k, **({"examples": most} if most < 60 else {})}
        assert (found.validation_accuracy, found.test_accuracy) == scores[k]


def test_only_neighbours_are_bounded_by_the_number_of_examples(splits, monkeypatch):
    few = replace(splits, train=replace(splits.train, x=splits.train.x[:5], y=splits.train.y[:5]))
    for name, tried in (("knn", [1, 3, 5]), ("svm", [1.0, 10.0])):
        seen, make = [], CLASSIFIERS[name].make
        monkeypatch.setitem(
            CLASSIFIERS, name, replace(CLASSIFIERS[name], make=lambda v, n, s=seen, m=make: s.append((v, n)) or m(v, n))
        )
        measure_baseline(name, few)
        assert seen == [(value, 5) for value in tried]


def test_of_settings_that_do_as_well_the_first_is_taken():
    x = np.repeat(10 * np.eye(3, dtype=np.float32), 40, axis=0)
    found = measure_baseline("svm", Arrays(x, np.repeat(np.arange(3), 40)).splits())
    assert (found.hyperparameters, found.validation_accuracy) == ({"C": 1.0}, 1.0)


@pytest.mark.parametrize(("examples", "leaf"), [(1, 1), (19, 1), (20, 2), (199, 19), (200, 20), (5000, 20)])
def test_leaves_of_trees_shrink_with_few_examples(examples, leaf):
    assert CLASSIFIERS["boosting"].make(0.1, examples).min_samples_leaf == leaf


def test_boosted_trees_answer_more_than_one_class_after_few_labels():
    x, y = load_wine(return_X_y=True)
    splits = Arrays(x.astype(np.float32), y, labels=15).splits()
    rate = measure_baseline("boosting", splits).hyperparameters["learning_rate"]
    few = HistGradientBoostingClassifier(learning_rate=rate, max_iter=200, random_state=0, min_samples_leaf=1)
    few.fit(splits.train.x.numpy(), splits.train.y.numpy())
    expected = few.score(splits.test.x.numpy(), splits.test.y.numpy())
    assert measure_baseline("boosting", splits).test_accuracy == pytest.approx(expected)
    assert expected > 0.6
