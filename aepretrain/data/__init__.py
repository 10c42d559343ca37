"""Data sources, one file each, and the batches that are made of them.

To add one: a file with a :class:`DataModule` that fills in ``load``, and its name in the list below.
"""

from aepretrain.data.arrays import Arrays
from aepretrain.data.base import DataModule, Examples, Source, Splits, balanced_subset
from aepretrain.data.batches import Batches
from aepretrain.data.digits import Digits
from aepretrain.data.images import CIFAR10, MNIST, FashionMNIST
from aepretrain.data.mapped import MappedArray
from aepretrain.data.patterns import OneHotPatterns

__all__ = [
    "CIFAR10",
    "MNIST",
    "Arrays",
    "Batches",
    "DataModule",
    "Digits",
    "Examples",
    "FashionMNIST",
    "MappedArray",
    "OneHotPatterns",
    "Source",
    "Splits",
    "balanced_subset",
]
