"""Classifier and regressor: rows without a target are for pretraining alone, and weights are those of ``finetune``."""

import pickle
import re
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import r2_score
from torch.optim import Adam

import aepretrain as ae
from aepretrain.sklearn import GreedyEncoder, PretrainedClassifier, PretrainedRegressor

from .rows import FEW, NAMES, VALUES, X, Y, same_bits

ENCODER = GreedyEncoder(layers=(8,), epochs=2)
SMALL = partial(PretrainedClassifier, ENCODER, epochs=10, lr=0.02, random_state=3)
REGRESSOR = partial(PretrainedRegressor, ENCODER, epochs=30, lr=0.02, random_state=3)


@pytest.fixture(scope="module")
def classifier():
    return SMALL().fit(X, FEW)


def test_few_labels_are_enough(classifier):
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.score(X, Y) > 0.8
    probability = classifier.predict_proba(X)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    assert np.array_equal(classifier.classes_[probability.argmax(axis=1)], classifier.predict(X))


def test_weights_equal_those_of_a_stack_and_finetune():
    """Arrays wants held-out rows: they choose nothing, as the last epoch alone is validated."""
    ours = SMALL(dropout=0.2).fit(X, Y)
    rows, labels = np.concatenate([X, X[:20] + 1]), np.concatenate([Y, Y[:20]])
    data = ae.Arrays(
        rows, labels, transform="standardize", splits=["train"] * len(X) + ["validation"] * 10 + ["test"] * 10
    )
    quiet = ae.RunContext(seed=3, progress=False)
    layer = lambda shape: ae.DenoisingAutoencoder(shape, ae.Dense(8, "relu"))  # noqa: E731
    stack = ae.GreedyStack((6,), [layer], seed=3).fit(data, ae.Pretraining(2, 32), quiet)
    head = ae.Classifier(stack.encoder, 3, dropout=0.2, optimizer=partial(Adam, lr=0.02))
    ae.finetune(head, data, ae.FineTuning(10, 32, validate_every=10), quiet)
    assert same_bits(ours.network_.layers, torch.nn.Sequential(head.encoder, head.head))
    with torch.no_grad():
        logits = head.double()(data.transform(torch.from_numpy(X)).double())
    assert np.array_equal(ours.predict_proba(X), logits.softmax(dim=1).numpy())


def test_rows_without_a_label_are_seen_by_pretraining_alone(classifier):
    labelled = FEW != -1
    alone = SMALL().fit(X[labelled], FEW[labelled])
    assert not same_bits(classifier.encoder_.network_, alone.encoder_.network_)
    pretrained = GreedyEncoder(layers=(8,), epochs=2, random_state=3).fit(X)
    assert same_bits(classifier.encoder_.network_, pretrained.network_)


def test_missing_labels_may_be_nan_or_none(classifier):
    unlabelled = FEW == -1
    for labels in (np.where(unlabelled, np.nan, FEW), np.where(unlabelled, None, FEW)):
        assert np.array_equal(SMALL().fit(X, labels).predict(X), classifier.predict(X))
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(NAMES).mask(unlabelled)
    for labels in (series, series.astype("string"), series.astype("category")):
        assert SMALL().fit(X, labels).classes_.tolist() == ["crow", "owl", "rook"]


@pytest.mark.parametrize("mark", ["-1", ""])
def test_text_may_name_classes_and_mark_missing_labels(classifier, mark):
    names = NAMES.copy()
    names[FEW == -1] = mark
    named = SMALL().fit(X, names)
    assert named.classes_.tolist() == ["crow", "owl", "rook"]
    assert np.array_equal(named.predict(X), np.array(["crow", "owl", "rook"])[classifier.predict(X)])
    objects = SMALL().fit(X, np.where(FEW == -1, -1, NAMES.astype(object)))
    assert np.array_equal(objects.predict(X), named.predict(X))


def test_a_score_leaves_rows_without_a_target_out(classifier):
    labelled = FEW != -1
    assert classifier.score(X, FEW) == classifier.score(X[labelled], FEW[labelled])
    values = np.where(labelled, VALUES, np.nan)
    regressor = REGRESSOR().fit(X, values)
    assert regressor.score(X, values) == r2_score(VALUES[labelled], regressor.predict(X)[labelled])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(len(X), -1), "y must hold targets, but -1 or NaN marks a missing one in all 120 rows"),
        (np.where(Y == 0, 1, -1), "y must name at least 2 classes, but names one class, 1, beside 80 rows"),
        (VALUES, "Unknown label type"),
        (None, "requires y to be passed"),
        (Y[:5], "inconsistent numbers of samples"),
        (
            np.where(Y == 0, "crow", Y.astype(object)),
            "y must name classes by text or by numbers,",
        ),
    ],
)
def test_labels_that_name_no_classes_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        SMALL().fit(X, y)


def test_the_target_is_scaled_and_scaled_back():
    known = np.where(np.arange(len(X)) < 60, VALUES, np.nan)
    regressor = REGRESSOR().fit(X, known)
    assert regressor.score(X, VALUES) > 0.8
    assert (regressor.target_mean_, regressor.target_scale_) == (VALUES[:60].mean(), VALUES[:60].std())
    moved = REGRESSOR().fit(X, 8 * known)
    np.testing.assert_allclose(moved.predict(X), 8 * regressor.predict(X), rtol=1e-4)


def test_several_targets_are_predicted_together():
    both = REGRESSOR().fit(X, np.stack([VALUES, np.full(len(X), 5.0)], axis=1))
    assert both.predict(X).shape == (len(X), 2)
    np.testing.assert_allclose(both.predict(X)[:, 1], 5.0, atol=0.1)
    assert r2_score(VALUES, both.predict(X)[:, 0]) > 0.5


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(len(X), np.nan), "y must hold targets, but NaN marks a missing one in all 120 rows"),
        (None, "requires y to be passed"),
        (np.full(len(X), np.inf), "Input y contains infinity"),
        (VALUES[:5], "inconsistent numbers of samples"),
    ],
)
def test_targets_that_are_no_numbers_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        REGRESSOR().fit(X, y)


def test_a_frozen_encoder_stays_as_it_was_pretrained():
    probe = SMALL(freeze_encoder=True).fit(X, Y)
    assert same_bits(probe.network_.layers[:-1], probe.encoder_.network_.layers)
    assert not same_bits(SMALL().fit(X, Y).network_.layers[:-1], probe.encoder_.network_.layers)


def test_patience_holds_labelled_rows_out():
    settings = {"epochs": 40, "patience": 1, "validation_fraction": 0.2}
    assert SMALL(**settings).fit(X, Y).score(X, Y) > 0.8
    assert REGRESSOR(**settings).fit(X, VALUES).score(X, VALUES) > 0.2
    with pytest.raises(ValueError, match="patience needs held-out rows, but 2 of 10 cannot be held out"):
        SMALL(**settings).fit(X, np.where(np.arange(len(X)) < 10, Y, -1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be >= 1, but got 0"),
        ({"epochs": 2.5}, "epochs must be a whole number, but is 2.5"),
        ({"batch_size": 0}, "batch_size must be >= 1, but got 0"),
        ({"patience": 0}, "patience must be >= 1, but got 0"),
        ({"dropout": 1.5}, "1.5"),
    ],
)
def test_a_wrong_setting_is_refused_by_fit(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SMALL(**settings).fit(X, Y)


def test_the_encoder_of_a_run_is_fine_tuned(tmp_path):
    layer = ae.PlainAutoencoder((6,), ae.Dense(8))
    ae.save_encoder(layer.encoder, tmp_path, in_shape=(6,))
    classifier = PretrainedClassifier(GreedyEncoder.from_run(tmp_path), epochs=30, lr=0.02, random_state=0).fit(X, Y)
    assert same_bits(classifier.encoder_.network_.layers, layer.encoder)
    assert classifier.score(X, Y) > 0.8


def test_settings_of_the_encoder_are_reached_by_name():
    classifier = clone(SMALL()).set_params(encoder__layers=(4,), encoder__random_state=1)
    assert classifier.fit(X, Y).encoder_.transform(X).shape == (len(X), 4)
    assert classifier.encoder_.random_state == 1


def test_pickles_keep_every_bit_and_hold_plain_modules(classifier):
    again = pickle.loads(pickle.dumps(classifier))
    assert np.array_equal(again.predict_proba(X), classifier.predict_proba(X))
    assert b"lightning" not in pickle.dumps(classifier)
