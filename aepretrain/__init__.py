"""Greedy layer-wise pretraining with autoencoders: does it help on your data, and here is the encoder.

Names are imported when they are first used, so that ``aepretrain --help`` answers without loading torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "aepretrain.layers": (
        "AdversarialAutoencoder",
        "Autoencoder",
        "ContractiveAutoencoder",
        "DenoisingAutoencoder",
        "DropoutAutoencoder",
        "Layer",
        "PlainAutoencoder",
        "RestrictedBoltzmannMachine",
        "SparseAutoencoder",
        "VariationalAutoencoder",
    ),
    "aepretrain.heads": ("Classifier", "Head", "Regressor", "evaluate_classifier"),
    "aepretrain.cli.finished_run": ("load_classifier",),
    "aepretrain.data": (
        "CIFAR10",
        "MNIST",
        "Arrays",
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
        "divide",
        "from_loaders",
    ),
    "aepretrain.data.rank_gauss": ("RankGauss",),
    "aepretrain.data.transforms": ("MinMax", "NoTransform", "Scale", "Standardize", "Transform"),
    "aepretrain.export.autoencoder": ("StackedAutoencoder", "load_autoencoder"),
    "aepretrain.export.encoder": ("load_encoder", "save_encoder"),
    "aepretrain.export.formats": ("export_encoder",),
    "aepretrain.export.module": ("Encoder",),
    "aepretrain.export.outliers": ("ValidationErrors",),
    "aepretrain.errors": ("AEPretrainError", "ConfigError", "DataError", "DivergedError", "StorageError"),
    "aepretrain.evaluation.partition_function": ("log_partition",),
    "aepretrain.runs.experiment": ("Experiment",),
    "aepretrain.runs.more_epochs": ("add_epochs",),
    "aepretrain.runs.warm_start": ("WarmStart",),
    "aepretrain.parts.coders": ("Coder",),
    "aepretrain.parts.convolution": ("Conv",),
    "aepretrain.parts.dense": ("Dense",),
    "aepretrain.parts.corruptions": (
        "Binarization",
        "Corruption",
        "Dropout",
        "GaussianNoise",
        "Masking",
        "NoCorruption",
        "SaltAndPepper",
        "SwapNoise",
    ),
    "aepretrain.parts.likelihoods": ("Bernoulli", "Categorical", "Gaussian", "Likelihood", "Mixed"),
    "aepretrain.parts.penalties": ("L0", "L1", "KLSparsity"),
    "aepretrain.parts.schedules": ("Schedules",),
    "aepretrain.pretraining.stack": ("GreedyStack",),
    "aepretrain.results.classifier": ("Measurement",),
    "aepretrain.results.comparison": ("ComparisonResult",),
    "aepretrain.results.run": ("RunResult",),
    "aepretrain.finetuning.finetune": ("finetune",),
    "aepretrain.training.options": ("FineTuning", "Pretraining", "TrainerOptions"),
    "aepretrain.training.context": ("RunContext",),
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
