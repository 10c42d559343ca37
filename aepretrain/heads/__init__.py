"""Heads, one file each: what is put on an encoder and trained with targets.

To add one: a file with a class that fills in ``loss``, ``validation_values`` and ``measure`` of :class:`Head`, and its
name in the list below and in that of ``aepretrain/__init__.py``.
"""

from aepretrain.heads.base import Head
from aepretrain.heads.classification import Classifier, evaluate_classifier
from aepretrain.heads.regression import Regressor

__all__ = ["Classifier", "Head", "Regressor", "evaluate_classifier"]
