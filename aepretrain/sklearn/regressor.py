"""A pretrained regressor for scikit-learn."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import Tags, check_array, check_consistent_length
from torch import nn

from aepretrain.heads import Regressor
from aepretrain.sklearn.head import PretrainedEstimator, check_given, check_labelled


class PretrainedRegressor(RegressorMixin, PretrainedEstimator):
    r"""A regressor on a stack that is pretrained on all rows, then fine-tuned on those with a target.

    .. math:: y = \mu + \sigma (W f(t(x)) + b)

    :math:`\mu` and :math:`\sigma` are mean and standard deviation of the targets in :meth:`fit`. Rows whose target is
    NaN are for pretraining alone, and :meth:`score` leaves them out. The arguments are those of
    :class:`~aepretrain.sklearn.head.PretrainedEstimator`; ``epochs``, ``batch_size``, ``lr`` and ``patience`` are for
    fine-tuning, those of ``encoder`` for pretraining.

    Attributes:
        encoder_: The fitted encoder, as it was before fine-tuning.
        network_: The map from raw rows to scaled targets, a plain torch module:
            :class:`~aepretrain.export.module.Encoder`.
        target_mean_: :math:`\mu` of every target, shape ``(targets,)``.
        target_scale_: :math:`\sigma` of every target, shape ``(targets,)``; 1 for a constant target.
        n_features_in_: Number of features of a row.
        feature_names_in_: Names of the features, if the rows came as a frame with names.

    Raises:
        ValueError: From :meth:`fit`, if a setting or the rows cannot be used.

    Example:
        >>> from aepretrain.sklearn import GreedyEncoder
        >>> x = np.random.rand(60, 12)
        >>> y = 100 * x[:, 0]
        >>> y[20:] = np.nan
        >>> stack = GreedyEncoder(layers=(16,), epochs=2)
        >>> PretrainedRegressor(stack, epochs=5, random_state=0).fit(x, y).predict(x).shape
        (60,)
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Pretrain on rows ``(N, D)``, and fine-tune on those whose targets ``y``, ``(N,)`` or ``(N, T)``, are known.

        A row is without a target if one of its targets is NaN.
        """
        check_given(self, y)
        targets = check_array(y, dtype=np.float64, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y")
        check_consistent_length(X, targets)
        labelled = has_target(targets)
        check_labelled(labelled, "NaN marks a missing one")
        known = targets[labelled]
        self.target_mean_, scale = known.mean(axis=0), known.std(axis=0)
        self.target_scale_ = np.where(scale > 0, scale, 1.0)
        scaled = (known - self.target_mean_) / self.target_scale_
        self.fine_tune(X, torch.from_numpy(scaled.astype(np.float32)), labelled)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The targets of rows ``(N, D)``, shape ``(N,)``, or ``(N, T)`` if :meth:`fit` was given such."""
        outputs = self.outputs(X).numpy()
        return self.target_mean_ + self.target_scale_ * (outputs if np.ndim(self.target_mean_) else outputs[:, 0])

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The coefficient of determination on the rows ``(N, D)`` that have a target."""
        targets = np.asarray(y, dtype=np.float64)
        known = has_target(targets)
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(r2_score(targets[known], self.predict(X)[known], sample_weight=weight))

    def build_head(self, encoder: nn.Module, **settings: Any) -> Regressor:
        return Regressor(encoder, np.size(self.target_mean_), **settings)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def has_target(targets: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a row has all targets, shape ``(N,)``.

    Example:
        >>> has_target(np.array([1.0, np.nan])).tolist()
        [True, False]
    """
    return np.asarray(~np.isnan(targets.reshape(len(targets), -1)).any(axis=1))
