"""Outliers by reconstruction, as a detector of scikit-learn."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from aepretrain.errors import ConfigError
from aepretrain.sklearn.encoder import GreedyEncoder, fit_encoder


class ReconstructionOutlierDetector(OutlierMixin, BaseEstimator):
    r"""Rows that a stack reconstructs badly are outliers.

    .. math:: \text{row } r \text{ is an outlier} \iff -L(r) < \theta

    The threshold :math:`\theta` is a quantile of the scores of the rows given to :meth:`fit`. The network has seen
    them, so that somewhat more than ``contamination`` of new rows of the same kind lie below it.

    Args:
        encoder: The stack and how it is trained, or ``GreedyEncoder.from_run(...)``; ``None``: ``GreedyEncoder()``.
        contamination: Share of the rows of :meth:`fit` that are outliers, in ``(0, 0.5]``.
        random_state: Seed, used if the encoder has none of its own.

    Attributes:
        encoder_: The fitted encoder.
        offset_: The threshold :math:`\theta`, in nats.
        n_features_in_: Number of features of a row.
        feature_names_in_: Names of the features, if the rows came as a frame with names.

    Raises:
        ValueError: From :meth:`fit`, if a setting or the rows cannot be used.

    Example:
        >>> x = np.random.rand(100, 12)
        >>> stack = GreedyEncoder(layers=(8,), epochs=2)
        >>> detector = ReconstructionOutlierDetector(stack, contamination=0.05, random_state=0).fit(x)
        >>> int((detector.predict(x) == -1).sum())
        5
    """

    def __init__(
        self, encoder: GreedyEncoder | None = None, *, contamination: float = 0.1, random_state: Any = None
    ) -> None:
        self.encoder = encoder
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Pretrain the stack on rows ``(N, D)``, and choose the threshold; ``y`` is not used."""
        if not 0 < self.contamination <= 0.5:
            raise ConfigError(
                f"contamination must lie in (0, 0.5], but got {self.contamination}. It is the share of outliers."
            )
        self.encoder_ = fit_encoder(self.encoder, X, self.random_state)
        validate_data(self, X, skip_check_array=True)
        self.offset_ = float(np.percentile(self.encoder_.score_samples(X), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Minus the reconstruction loss of rows ``(N, D)``, in nats, shape ``(N,)``: low for outliers."""
        check_is_fitted(self)
        scores = self.encoder_.score_samples(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        return scores

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """The scores of rows ``(N, D)`` minus the threshold, shape ``(N,)``: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """-1 for outliers and 1 for all other rows ``(N, D)``, shape ``(N,)``."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
