"""Estimators for scikit-learn, one file each. Each of them trains by the same stack, heads and loop as a run."""

from aepretrain.sklearn.classifier import PretrainedClassifier
from aepretrain.sklearn.encoder import GreedyEncoder
from aepretrain.sklearn.outliers import ReconstructionOutlierDetector
from aepretrain.sklearn.regressor import PretrainedRegressor

__all__ = ["GreedyEncoder", "PretrainedClassifier", "PretrainedRegressor", "ReconstructionOutlierDetector"]
