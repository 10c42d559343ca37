"""The estimators as parts of scikit-learn's pipelines, searches and column transformers, also in other processes."""

import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import aepretrain as ae
from aepretrain.sklearn import GreedyEncoder, PretrainedClassifier

from .rows import FEW, NAMES, X, Y

ENCODER = GreedyEncoder(layers=(8,), epochs=2, random_state=0)


@pytest.fixture(scope="module")
def pandas():
    return pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def frame(pandas):
    return pandas.DataFrame(X, columns=list("abcdef")).assign(kind=NAMES)


def sparse_layer(shape):
    return ae.SparseAutoencoder(shape, ae.Dense(5))


@pytest.mark.soak
def test_a_search_in_two_processes_finds_what_one_finds():
    pipeline = make_pipeline(ENCODER, LogisticRegression(max_iter=500))
    grid = {"greedyencoder__layers": [(4,), (8, 3), (sparse_layer,)]}
    found = [GridSearchCV(pipeline, grid, n_jobs=jobs, cv=2).fit(X, Y) for jobs in (1, 2)]
    one, two = (search.cv_results_["mean_test_score"] for search in found)
    assert np.array_equal(one, two)
    assert one.max() > 0.7


def test_estimators_reach_the_processes_of_a_search_and_return():
    """What joblib does to an estimator that goes to another process; the soak tests start the processes."""
    pipeline = make_pipeline(GreedyEncoder(layers=(8, sparse_layer), epochs=1), LogisticRegression())
    there = pickle.loads(pickle.dumps(clone(pipeline)))
    back = pickle.loads(pickle.dumps(there.fit(X, Y)))
    assert np.array_equal(back.predict_proba(X), there.predict_proba(X))


@pytest.mark.soak
def test_a_fitted_estimator_gives_the_same_bits_in_another_process():
    classifier = PretrainedClassifier(ENCODER, epochs=3, random_state=0).fit(X, FEW)
    (codes, probability) = joblib.Parallel(n_jobs=2)(
        joblib.delayed(method)(X) for method in (classifier.encoder_.transform, classifier.predict_proba)
    )
    assert np.array_equal(codes, classifier.encoder_.transform(X))
    assert np.array_equal(probability, classifier.predict_proba(X))


def test_a_search_without_labels_compares_reconstructions():
    search = GridSearchCV(ENCODER, {"epochs": [1, 10]}, cv=2).fit(X)
    assert search.best_params_ == {"epochs": 10}
    assert search.best_score_ < 0


def test_unlabelled_rows_of_a_fold_do_not_count_in_a_search():
    search = GridSearchCV(PretrainedClassifier(ENCODER, lr=0.02, random_state=0), {"epochs": [1, 30]}, cv=3)
    assert search.fit(X, FEW).best_score_ > 0.6
    assert search.best_params_ == {"epochs": 30}


def test_columns_are_encoded_beside_others(frame):
    columns = ColumnTransformer([("codes", ENCODER, list("abcdef")), ("kind", OneHotEncoder(), ["kind"])])
    columns.set_output(transform="default")
    whole = columns.fit_transform(frame)
    assert whole.shape == (len(X), 11)
    assert columns.get_feature_names_out()[[0, 8]].tolist() == ["codes__greedyencoder0", "kind__kind_crow"]
    assert make_pipeline(columns, ENCODER, LogisticRegression()).fit(frame, Y).score(frame, Y) > 0.8


def test_codes_may_be_a_frame(frame, pandas):
    encoder = GreedyEncoder(layers=(8,), epochs=2, random_state=0).set_output(transform="pandas")
    codes = encoder.fit_transform(frame[list("abcdef")])
    assert isinstance(codes, pandas.DataFrame)
    assert codes.columns.tolist() == encoder.get_feature_names_out().tolist() == [f"greedyencoder{k}" for k in range(8)]
    assert codes.index.equals(frame.index)
    with pytest.raises(ValueError, match="same order"):
        encoder.transform(frame[list("bacdef")])


def test_sparse_rows_are_encoded(frame):
    pipeline = make_pipeline(OneHotEncoder(), ENCODER)
    assert pipeline.fit_transform(NAMES[:, None]).shape == (len(X), 8)
