"""Simple classifiers on the raw input, as baselines for a pretrained network."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from aepretrain.data import Splits
from aepretrain.data.examples import Examples


@dataclass(frozen=True)
class BaselineResult:
    """The result of a baseline.

    Args:
        validation_accuracy: Accuracy of the chosen setting on validation data, in ``[0, 1]``.
        test_accuracy: Accuracy on test data, in ``[0, 1]``.
        seconds: Wall-clock time, including the search for the setting.
        hyperparameters: The chosen setting, and the number of training examples if not all were used.

    Example:
        >>> BaselineResult(0.88, 0.86, seconds=0.01, hyperparameters={"k": 1}).hyperparameters
        {'k': 1}
    """

    validation_accuracy: float
    test_accuracy: float
    seconds: float
    hyperparameters: Mapping[str, Any]


@dataclass(frozen=True)
class Baseline:
    """A scikit-learn classifier with one setting, which is chosen on validation data.

    Args:
        make: Builds the classifier from a value of the setting and the number of training examples.
        setting: Name of the setting.
        grid: Values to try.
        most: Maximum number of training examples; more would take too long.
    """

    make: Callable[[Any, int], ClassifierMixin]
    setting: str
    grid: Sequence[float]
    most: int


BASELINES: dict[str, Baseline] = {
    "logistic": Baseline(
        lambda C, _: make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=200, tol=1e-3)),
        "C",
        (0.001, 0.01, 0.1, 1.0),
        20_000,
    ),
    "knn": Baseline(lambda k, _: KNeighborsClassifier(n_neighbors=k), "k", (1, 3, 5, 9), 60_000),
    "svm": Baseline(lambda C, _: SVC(C=C), "C", (1.0, 10.0), 10_000),
    "boosting": Baseline(
        # With the default of 20 examples in a leaf, fewer than 40 examples are never divided: one answer for all.
        lambda rate, examples: HistGradientBoostingClassifier(
            learning_rate=rate, max_iter=200, random_state=0, min_samples_leaf=min(20, max(1, examples // 10))
        ),
        "learning_rate",
        (0.03, 0.1),
        100_000,
    ),
}
"""Multinomial logistic regression, k nearest neighbours, a support vector machine with an RBF kernel, boosted trees."""

FOR_TABLES = ("boosting",)
"""Baselines used only on tabular data, unless named explicitly."""


def measure_baseline(name: str, splits: Splits) -> BaselineResult:
    """Train a baseline on the labelled examples, choose its setting on validation data, and test it once.

    Args:
        name: A key of :data:`BASELINES`.
        splits: The data of the run.

    Example:
        >>> from aepretrain import Digits
        >>> sorted(measure_baseline("knn", Digits(labels=100).splits()).hyperparameters)
        ['k']
    """
    baseline, start = BASELINES[name], time.perf_counter()
    # The data source fixes the order of labelled examples, balanced or shuffled: a prefix is a fair sample.
    x, y = _arrays(splits.train, baseline.most)
    x_validation, y_validation = _arrays(splits.validation)
    trials = [
        (value, baseline.make(value, len(y)).fit(x, y)) for value in baseline.grid if name != "knn" or value <= len(y)
    ]
    scored = [(model.score(x_validation, y_validation), value, model) for value, model in trials]
    accuracy, value, best = max(scored, key=lambda trial: trial[0])
    return BaselineResult(
        validation_accuracy=float(accuracy),
        test_accuracy=float(best.score(*_arrays(splits.test))),
        seconds=time.perf_counter() - start,
        hyperparameters={baseline.setting: value, **({"examples": len(y)} if len(y) < len(splits.train) else {})},
    )


def _arrays(examples: Examples, most: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    assert examples.y is not None
    return examples.x[:most].flatten(1).numpy(), examples.y[:most].numpy()
