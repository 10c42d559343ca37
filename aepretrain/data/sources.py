"""All data sources by name: importing this module registers them for configs."""

from aepretrain.data.arrays import Arrays
from aepretrain.data.base import DataModule, balanced_subset
from aepretrain.data.batches import Batches
from aepretrain.data.digits import Digits
from aepretrain.data.division import divide
from aepretrain.data.examples import Examples, Source, Splits
from aepretrain.data.image_folder import ImageFolder
from aepretrain.data.images import CIFAR10, MNIST, FashionMNIST
from aepretrain.data.lightning_data import LightningData, from_loaders
from aepretrain.data.mapped import MappedArray
from aepretrain.data.parquet import ParquetFolder
from aepretrain.data.patterns import OneHotPatterns
from aepretrain.data.table import Table

__all__ = [
    "CIFAR10",
    "MNIST",
    "Arrays",
    "Batches",
    "DataModule",
    "Digits",
    "Examples",
    "FashionMNIST",
    "ImageFolder",
    "LightningData",
    "MappedArray",
    "OneHotPatterns",
    "ParquetFolder",
    "Source",
    "Splits",
    "Table",
    "balanced_subset",
    "divide",
    "from_loaders",
]
