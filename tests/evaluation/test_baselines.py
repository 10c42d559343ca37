"""Baselines give the answers of scikit-learn, also with few labels."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier

from aepretrain import Arrays
from aepretrain.evaluation.baselines import measure_baseline


def test_boosted_trees_answer_more_than_one_class_after_few_labels():
    x, y = load_wine(return_X_y=True)
    splits = Arrays(x.astype(np.float32), y, labels=15).splits()
    rate = measure_baseline("boosting", splits).hyperparameters["learning_rate"]
    few = HistGradientBoostingClassifier(learning_rate=rate, max_iter=200, random_state=0, min_samples_leaf=1)
    few.fit(splits.train.x.numpy(), splits.train.y.numpy())
    expected = few.score(splits.test.x.numpy(), splits.test.y.numpy())
    assert measure_baseline("boosting", splits).test_accuracy == pytest.approx(expected)
    assert expected > 0.6
