"""Rows that are reconstructed badly are outliers."""

import numpy as np
import pytest

import aepretrain as ae
from aepretrain.sklearn import GreedyEncoder, ReconstructionOutlierDetector

from .rows import X

ENCODER = GreedyEncoder(layers=(3,), variant="plain", epochs=30, lr=0.01)


def test_rows_unlike_those_of_training_are_outliers():
    detector = ReconstructionOutlierDetector(ENCODER, contamination=0.05, random_state=0).fit(X)
    assert (detector.predict(X) == -1).sum() == 6
    assert (detector.predict(X + 10 * np.eye(6)[np.arange(len(X)) % 6]) == -1).mean() > 0.9
    assert np.array_equal(detector.decision_function(X), detector.score_samples(X) - detector.offset_)
    assert np.array_equal(detector.score_samples(X), detector.encoder_.score_samples(X))


def test_the_scores_of_a_run_are_minus_its_errors(tmp_path):
    layer = ae.PlainAutoencoder((6,), ae.Dense(3))
    ae.save_encoder(layer.encoder, tmp_path, in_shape=(6,), decoders=[(layer.g, layer.L)])
    detector = ReconstructionOutlierDetector(GreedyEncoder.from_run(tmp_path)).fit(X)
    errors = ae.load_autoencoder(tmp_path).error(ae.Arrays(X).x).detach().numpy()
    np.testing.assert_allclose(detector.score_samples(X), -errors, rtol=1e-5)
    assert detector.offset_ == np.percentile(detector.score_samples(X), 10)


@pytest.mark.parametrize("share", [0, 0.6, -1])
def test_a_share_of_outliers_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=rf"contamination must lie in \(0, 0.5\], but got {share}"):
        ReconstructionOutlierDetector(ENCODER, contamination=share).fit(X)
