"""The loops that ours are held against, written by hand, and ours."""

import itertools
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

import aepretrain as ae
from aepretrain.tracking.metrics_file import MetricsFile
from aepretrain.training.options import StageSettings
from aepretrain.training.stage import train_stage


def data(features, rows=50_000):
    return torch.rand(rows, features, generator=torch.Generator().manual_seed(1))


def train(module, tensors, epochs, batch_size, **options):
    """Seconds per epoch of ours, with a progress bar and every scalar logged: the median after the first epoch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.jsonl"
        path.touch()
        context = ae.RunContext(loggers=lambda stage: [MetricsFile(path, stage)], trainer=ae.TrainerOptions(**options))
        held_out = [tensor[:100] for tensor in tensors]
        record = train_stage(module, tensors, held_out, StageSettings("00-bench", epochs, batch_size), context)
    return statistics.median(epoch["epoch_seconds"] for epoch in record.history[1:])


def by_hand(step, optimizer, tensors, epochs, batch_size):
    """Seconds per epoch of the plain loop: shuffle, gather, loss, backward, step, and one figure per epoch."""
    times, count = [], len(tensors[0])
    for _ in range(epochs):
        start, total = time.perf_counter(), 0.0
        order = torch.randperm(count)
        for begin in range(0, count, batch_size):
            rows = order[begin : begin + batch_size]
            loss = step(*(tensor[rows] for tensor in tensors))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        float(total)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def denoising_by_hand(x, features, batch_size, epochs):
    f, g = nn.Sequential(nn.Linear(x.shape[1], features), nn.Sigmoid()), nn.Linear(features, x.shape[1])

    def step(batch):
        damaged = batch * (torch.rand_like(batch) >= 0.25)
        losses = F.binary_cross_entropy_with_logits(g(f(damaged)), batch, reduction="none")
        return losses.sum(1).mean()

    return by_hand(step, SGD([*f.parameters(), *g.parameters()], lr=0.01), [x], epochs, batch_size)


def denoising(x, features, batch_size, epochs, **options):
    module = ae.DenoisingAutoencoder(
        (x.shape[1],), ae.Dense(features), corruption=ae.Masking(0.25), likelihood=ae.Bernoulli(),
        optimizer=partial(SGD, lr=0.01),
    )  # fmt: skip
    return train(module, [x], epochs, batch_size, **options)


def mlp(widths):
    layers = [nn.Sequential(nn.Linear(a, b), nn.Sigmoid()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*layers)


def classifier_by_hand(x, y, widths, classes, batch_size, epochs):
    model = nn.Sequential(mlp(widths), nn.Linear(widths[-1], classes))
    step = lambda batch, labels: F.cross_entropy(model(batch), labels)  # noqa: E731
    return by_hand(step, SGD(model.parameters(), lr=0.1), [x, y], epochs, batch_size)


def classifier(x, y, widths, classes, batch_size, epochs):
    module = ae.Classifier(mlp(widths), classes, optimizer=partial(SGD, lr=0.1))
    return train(module, [x, y], epochs, batch_size)
