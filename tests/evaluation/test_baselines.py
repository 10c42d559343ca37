"""Baselines give the answers of scikit-learn, also with few labels."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from aepretrain import Arrays, Digits
from aepretrain.evaluation.baselines import (
    BASELINES,
    CLASSIFIERS,
    FOR_TABLES,
    REGRESSIONS,
    BaselineResult,
    measure_baseline,
)
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
REAL_BY_HAND = {
    "ridge": ("alpha", (0.1, 1.0, 10.0, 100.0, 1000.0), 100_000, lambda alpha: make_pipeline(
        StandardScaler(), Ridge(alpha=alpha)
    )),
    "knn": ("k", (1, 3, 5, 9, 17), 60_000, lambda k: KNeighborsRegressor(k)),
    "boosting": ("learning_rate", (0.03, 0.1), 100_000, lambda rate: HistGradientBoostingRegressor(
        learning_rate=rate, max_iter=200, random_state=0, min_samples_leaf=6
    )),
    "mean": ("", (0,), 10_000_000, lambda _: DummyRegressor()),
}  # fmt: skip
"""The same for real targets."""


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
    setting, grid, *_ = BY_HAND[name]
    scores, found = by_hand(name, splits), measure_baseline(name, splits)
    best = max(grid, key=lambda value: scores[value][0])
    assert found.hyperparameters == {setting: best}
    assert (found.validation_accuracy, found.test_accuracy) == scores[best]
    assert 0 < found.seconds < 60


@pytest.mark.parametrize(
    ("baselines", "expected", "name"),
    [(CLASSIFIERS, BY_HAND, name) for name in BY_HAND] + [(REGRESSIONS, REAL_BY_HAND, name) for name in REAL_BY_HAND],
)
def test_an_estimator_has_the_settings_of_its_documentation(baselines, expected, name):
    setting, grid, most, make = expected[name]
    baseline = baselines[name]
    assert (baseline.setting, tuple(baseline.grid), baseline.most) == (setting, grid, most)
    for value in grid:
        assert repr(baseline.make(value, 60)) == repr(make(value))


def test_the_names_of_all_baselines_are_those_of_both_kinds_each_once():
    assert (list(CLASSIFIERS), list(REGRESSIONS)) == (list(BY_HAND), list(REAL_BY_HAND))
    assert BASELINES == ("logistic", "knn", "svm", "boosting", "ridge", "mean", "pca")


@pytest.mark.parametrize("name", REAL_BY_HAND)
def test_a_regression_is_that_of_scikit_learn_with_the_setting_that_validation_chose(name):
    target = (3 * X[:, 0] - X[:, 1] ** 2 + 50).astype(np.float32)
    splits = Arrays(X, target, target_type="real", labels=60).splits()
    (x, y), validation, test = (
        (part.x.numpy(), part.y.double().numpy()) for part in (splits.train, splits.validation, splits.test)
    )
    setting, grid, _, make = REAL_BY_HAND[name]
    models = [make(value).fit(x, y) for value in grid]
    place = int(np.argmax([model.score(*validation) for model in models]))
    predicted = models[place].predict(test[0])
    found = measure_baseline(name, splits)
    assert found.hyperparameters == ({setting: grid[place]} if setting else {})
    np.testing.assert_allclose(found.predictions.predicted, predicted, rtol=1e-6)
    np.testing.assert_array_equal(found.predictions.targets, test[1])
    assert found.validation_r2 == pytest.approx(r2_score(validation[1], models[place].predict(validation[0])))
    assert found.test_r2 == pytest.approx(r2_score(test[1], predicted))
    assert found.test_rmse == pytest.approx(np.sqrt(np.mean((test[1] - predicted) ** 2)))
    assert found.test_mae == pytest.approx(np.mean(np.abs(test[1] - predicted)))
    assert (found.validation_accuracy, found.test_accuracy) == (None, None)
    assert found.row == {name: value for name, value in vars(found).items() if name != "predictions"}


def test_a_result_without_figures_is_empty():
    row = {"seconds": 0.0, "hyperparameters": {}}
    assert {name: value for name, value in BaselineResult().row.items() if value is not None} == row


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
