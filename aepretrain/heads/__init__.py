"""Heads, one file each: output layers on an encoder, trained with targets.

To add a head, write a subclass of :class:`Head` that implements ``loss``, ``validation_values`` and ``measure``, and
export it here and in ``aepretrain/__init__.py``.
"""

from aepretrain.heads.base import Head
from aepretrain.heads.classification import Classifier, evaluate_classifier
from aepretrain.heads.regression import Regressor

__all__ = ["Classifier", "Head", "Regressor", "evaluate_classifier"]
