"""Our steps, as the benchmarks take them."""

import statistics
import tempfile
from functools import partial
from pathlib import Path

from torch.optim import SGD

import aepretrain as ae
from aepretrain.tracking.metrics_file import MetricsFile
from aepretrain.training.options import StageSettings
from aepretrain.training.stage import train_stage
from tests.benchmarks.by_hand import RATES, mlp


def train(module, tensors, epochs, batch_size, **options):
    """Seconds per epoch of ours, with a progress bar and every scalar logged: the median after the first epoch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.touch()
        context = ae.RunContext(loggers=lambda stage: [MetricsFile(path, stage)], trainer=ae.TrainerOptions(**options))
        held_out = [tensor[:100] for tensor in tensors]
        record = train_stage(module, tensors, held_out, StageSettings("00-bench", epochs, batch_size), context)
    return statistics.median(epoch["epoch_seconds"] for epoch in record.history[1:])


def layer(inputs, features, optimizer):
    return ae.DenoisingAutoencoder(
        (inputs,), ae.Dense(features), corruption=ae.Masking(0.25), likelihood=ae.Bernoulli(),
        optimizer=partial(optimizer, lr=RATES[optimizer]),
    )  # fmt: skip


def denoising(x, features, batch_size, epochs, optimizer=SGD, **options):
    return train(layer(x.shape[1], features, optimizer), [x], epochs, batch_size, **options)


def classifier(x, y, widths, classes, batch_size, epochs, optimizer=SGD):
    module = ae.Classifier(mlp(widths), classes, optimizer=partial(optimizer, lr=RATES[optimizer]))
    return train(module, [x, y], epochs, batch_size)
