"""A pretrained classifier for scikit-learn."""

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from torch import nn

from aepretrain.data.row_values import is_missing
from aepretrain.errors import DataError
from aepretrain.heads import Classifier
from aepretrain.sklearn.head import PretrainedEstimator, check_given, check_labelled

UNLABELLED = (-1, "-1", "")
"""Values of ``y`` that mark a row without a label, for numbers and for text."""


class PretrainedClassifier(ClassifierMixin, PretrainedEstimator):
    r"""A classifier on a stack that is pretrained on all rows, then fine-tuned on those with a label.

    .. math:: p(y \mid x) = \mathrm{softmax}(W f(t(x)) + b)_y

    Rows whose label is -1 (in text: ``"-1"`` or ``""``) or missing are for pretraining alone, and :meth:`score` leaves
    them out.
    The arguments are those of :class:`~aepretrain.sklearn.head.PretrainedEstimator`; ``epochs``, ``batch_size``, ``lr``
    and ``patience`` are for fine-tuning, those of ``encoder`` for pretraining.

    Attributes:
        classes_: The labels, sorted.
        encoder_: The fitted encoder, as it was before fine-tuning.
        network_: The map from raw rows to logits, a plain torch module: :class:`~aepretrain.export.module.Encoder`.
        n_features_in_: Number of features of a row.
        feature_names_in_: Names of the features, if the rows came as a frame with names.

    Raises:
        ValueError: From :meth:`fit`, if a setting or the rows cannot be used, or ``y`` names fewer than two classes.

    Example:
        >>> from aepretrain.sklearn import GreedyEncoder
        >>> x = np.random.rand(60, 12)
        >>> y = np.where(x[:, 0] > 0.5, "high", "low")
        >>> y[20:] = "-1"
        >>> stack = GreedyEncoder(layers=(16,), epochs=2)
        >>> classifier = PretrainedClassifier(stack, epochs=5, random_state=0).fit(x, y)
        >>> classifier.classes_.tolist(), classifier.predict_proba(x).shape
        (['high', 'low'], (60, 2))
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Pretrain the stack on rows ``(N, D)``, and fine-tune it on those that have a label ``y``, ``(N,)``."""
        check_given(self, y)
        labels = column_or_1d(y, warn=True)
        check_consistent_length(X, labels)
        labelled = has_label(labels)
        check_labelled(labelled, "-1 or NaN marks a missing one")
        known = _one_kind(labels[labelled])
        assert_all_finite(known, input_name="y")
        check_classification_targets(known)
        self.classes_ = unique_labels(known)
        if len(self.classes_) < 2:
            raise DataError(
                f"y must name at least 2 classes, but names one class, {self.classes_[0]!s}, beside "
                f"{(~labelled).sum()} rows whose -1 marks a missing label. Label rows of another class; if -1 is one, "
                "give it another name."
            )
        numbers = np.searchsorted(self.classes_, known)
        self.fine_tune(X, torch.from_numpy(numbers.astype(np.int64)), labelled, numbers)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class for rows ``(N, D)``, shape ``(N, classes)``, in the order of ``classes_``."""
        return self.outputs(X).softmax(dim=1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of rows ``(N, D)``, shape ``(N,)``."""
        numbers = self.outputs(X).argmax(dim=1).numpy()
        return self.classes_[numbers]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy on the rows ``(N, D)`` that have a label."""
        labels = np.asarray(y)
        weight = has_label(labels) * (1.0 if sample_weight is None else np.asarray(sample_weight))
        return float(np.average(self.predict(X) == labels, weights=weight))

    def build_head(self, encoder: nn.Module, **settings: Any) -> Classifier:
        return Classifier(encoder, len(self.classes_), **settings)


def has_label(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a row has a label, shape ``(N,)``.

    Example:
        >>> has_label(np.array([0, -1, 2])).tolist(), has_label(np.array(["a", "", "-1"])).tolist()
        ([True, False, True], [True, False, False])
    """
    if labels.dtype.kind in "OUST":
        return np.array([not is_missing(label) and label not in UNLABELLED for label in labels.tolist()], dtype=bool)
    return (labels != UNLABELLED[0]) & ~np.isnan(labels)


def _one_kind(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels without missing ones; Python's numbers in an array of their own type."""
    if labels.dtype.kind != "O":
        return labels
    texts = [label for label in labels.tolist() if isinstance(label, str | bytes)]
    if texts and len(texts) < len(labels):
        raise DataError(f"y must name classes by text or by numbers, but holds both, such as {texts[0]!r}. Choose one.")
    return labels if texts else np.array(labels.tolist())
