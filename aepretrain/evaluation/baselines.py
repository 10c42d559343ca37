"""Simple classifiers and regressions on the raw input, as baselines for a pretrained network."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from aepretrain.data import Splits
from aepretrain.data.examples import Examples
from aepretrain.heads.regression_metrics import measure_predictions
from aepretrain.results.cell import regression_scores
from aepretrain.results.predictions import Predictions


@dataclass(frozen=True)
class BaselineResult:
    """The result of a baseline.

    Args:
        validation_accuracy: Accuracy of the chosen setting on validation data; ``None`` for real targets.
        test_accuracy: Accuracy on test data, in ``[0, 1]``; ``None`` for real targets.
        seconds: Wall-clock time, including the search for the setting.
        hyperparameters: The chosen setting, and the number of training examples if not all were used.
        validation_r2: R² of the chosen setting on validation data; ``None`` for classes, as all that follow.
        test_r2: R² on test data.
        test_rmse: Root mean squared error on test data, in units of the target.
        test_mae: Mean absolute error on test data, in units of the target.
        predictions: Targets and predictions on test data.

    Example:
        >>> BaselineResult(0.88, 0.86, seconds=0.01, hyperparameters={"k": 1}).hyperparameters
        {'k': 1}
    """

    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    seconds: float = 0.0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    validation_r2: float | None = None
    test_r2: float | None = None
    test_rmse: float | None = None
    test_mae: float | None = None
    predictions: Predictions | None = None

    @property
    def row(self) -> dict[str, Any]:
        """What a row of ``results.csv`` takes."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "predictions"}


@dataclass(frozen=True)
class Baseline:
    """A scikit-learn estimator with at most one setting, which is chosen on validation data.

    Args:
        make: Builds the estimator from a value of the setting and the number of training examples.
        setting: Name of the setting; empty: there is none.
        grid: Values to try.
        most: Maximum number of training examples; more would take too long.
    """

    make: Callable[[Any, int], Any]
    setting: str
    grid: Sequence[float]
    most: int


def _boosted(kind: Callable[..., Any]) -> Baseline:
    # With the default of 20 examples in a leaf, fewer than 40 examples are never divided: one answer for all.
    return Baseline(
        lambda rate, examples: kind(
            learning_rate=rate, max_iter=200, random_state=0, min_samples_leaf=min(20, max(1, examples // 10))
        ),
        "learning_rate",
        (0.03, 0.1),
        100_000,
    )


CLASSIFIERS: dict[str, Baseline] = {
    "logistic": Baseline(
        lambda C, _: make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=200, tol=1e-3)),
        "C",
        (0.001, 0.01, 0.1, 1.0),
        20_000,
    ),
    "knn": Baseline(lambda k, _: KNeighborsClassifier(n_neighbors=k), "k", (1, 3, 5, 9), 60_000),
    "svm": Baseline(lambda C, _: SVC(C=C), "C", (1.0, 10.0), 10_000),
    "boosting": _boosted(HistGradientBoostingClassifier),
}
"""Multinomial logistic regression, k nearest neighbours, a support vector machine with an RBF kernel, boosted trees."""

REGRESSIONS: dict[str, Baseline] = {
    "ridge": Baseline(
        lambda alpha, _: make_pipeline(StandardScaler(), Ridge(alpha=alpha)),
        "alpha",
        (0.1, 1.0, 10.0, 100.0, 1000.0),
        100_000,
    ),
    "knn": Baseline(lambda k, _: KNeighborsRegressor(n_neighbors=k), "k", (1, 3, 5, 9, 17), 60_000),
    "boosting": _boosted(HistGradientBoostingRegressor),
    "mean": Baseline(lambda _, __: DummyRegressor(), "", (0,), 10_000_000),
}
"""For real targets: ridge regression, k nearest neighbours, boosted trees, and the mean of the training targets."""

RECONSTRUCTIONS = ("pca",)
"""For reconstructions: as many principal components as a code has values."""

BASELINES = tuple(dict.fromkeys([*CLASSIFIERS, *REGRESSIONS, *RECONSTRUCTIONS]))
"""The names of all baselines."""

FOR_TABLES = ("boosting",)
"""Baselines used only on tabular data, unless named explicitly."""


def measure_baseline(name: str, splits: Splits) -> BaselineResult:
    """Train a baseline on the labelled examples, choose its setting on validation data, and test it once.

    Args:
        name: A key of :data:`CLASSIFIERS`, or for real targets of :data:`REGRESSIONS`.
        splits: The data of the run.

    Example:
        >>> from aepretrain import Digits
        >>> sorted(measure_baseline("knn", Digits(labels=100).splits()).hyperparameters)
        ['k']
    """
    is_real = splits.train.classes is None
    baseline, start = (REGRESSIONS if is_real else CLASSIFIERS)[name], time.perf_counter()
    # The data source fixes the order of labelled examples, balanced or shuffled: a prefix is a fair sample.
    x, y = _arrays(splits.train, baseline.most)
    validation, test = _arrays(splits.validation), _arrays(splits.test)
    trials = [
        (value, baseline.make(value, len(y)).fit(x, y)) for value in baseline.grid if name != "knn" or value <= len(y)
    ]
    scored = [(model.score(*validation), value, model) for value, model in trials]
    score, value, best = max(scored, key=lambda trial: trial[0])
    predictions = Predictions(test[1], best.predict(test[0])) if is_real else None
    if predictions is None:
        scores = {"validation_accuracy": float(score), "test_accuracy": float(best.score(*test))}
    else:
        measured = measure_predictions(validation[1], best.predict(validation[0]))
        scores = regression_scores(measured, measure_predictions(test[1], predictions.predicted))
    settings = {baseline.setting: value} if baseline.setting else {}
    return BaselineResult(
        **scores,
        seconds=time.perf_counter() - start,
        hyperparameters={**settings, **({"examples": len(y)} if len(y) < len(splits.train) else {})},
        predictions=predictions,
    )


def _arrays(examples: Examples, most: int | None = None) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Inputs, and labels as int64 or targets as float64."""
    assert examples.y is not None
    y = examples.y[:most].numpy()
    return examples.x[:most].flatten(1).numpy(), y if examples.classes is not None else y.astype(np.float64)
