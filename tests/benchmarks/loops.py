"""The loops that ours are held against, written by hand, and ours."""

import itertools
import statistics
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from torch import nn
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader, TensorDataset

import aepretrain as ae
from aepretrain.tracking.metrics_file import MetricsFile
from aepretrain.training.devices import quiet_lightning
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


RATES = {SGD: 0.01, Adam: 0.001}


def denoising_by_hand(x, features, batch_size, epochs, optimizer=SGD):
    f, g = nn.Sequential(nn.Linear(x.shape[1], features), nn.Sigmoid()), nn.Linear(features, x.shape[1])

    def step(batch):
        damaged = batch * (torch.rand_like(batch) >= 0.25)
        losses = F.binary_cross_entropy_with_logits(g(f(damaged)), batch, reduction="none")
        return losses.sum(1).mean()

    parameters = [*f.parameters(), *g.parameters()]
    return by_hand(step, optimizer(parameters, lr=RATES[optimizer]), [x], epochs, batch_size)


@torch.no_grad()
def denoising_written_out(x, features, batch_size, epochs, optimizer=SGD):
    """The same steps with the gradients derived by hand: no autograd, and for SGD no gradient in memory."""
    W, b = nn.Linear(x.shape[1], features).parameters()
    V, c = nn.Linear(features, x.shape[1]).parameters()
    adam, times = optimizer([W, b, V, c], lr=RATES[optimizer], fused=True), []
    for _ in range(epochs):
        start, total = time.perf_counter(), torch.zeros(())
        order = torch.randperm(len(x))
        for begin in range(0, len(x), batch_size):
            batch = x[order[begin : begin + batch_size]]
            damaged = torch.empty_like(batch).uniform_().ge_(0.25).mul_(batch)
            h = torch.addmm(b, damaged, W.t()).sigmoid_()
            y = torch.addmm(c, h, V.t())
            total += F.binary_cross_entropy_with_logits(y, batch, reduction="sum") / len(batch)
            dy = torch.sigmoid(y).sub_(batch).div_(len(batch))
            dh = torch.mm(dy, V).mul_(h).mul_(1 - h)
            if optimizer is SGD:
                for weights, left, right in ((V, dy, h), (W, dh, damaged)):
                    weights.addmm_(left.t(), right, alpha=-RATES[SGD])
                c.sub_(dy.sum(0), alpha=RATES[SGD])
                b.sub_(dh.sum(0), alpha=RATES[SGD])
            else:
                W.grad, b.grad, V.grad, c.grad = dh.t() @ damaged, dh.sum(0), dy.t() @ h, dy.sum(0)
                adam.step()
        float(total)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def regressor(x, features, batch_size, epochs, optimizer=SGD):
    """Seconds per epoch of scikit-learn's network of one hidden layer, which reconstructs without noise."""
    solver = {"solver": "sgd", "momentum": 0, "nesterovs_momentum": False} if optimizer is SGD else {"solver": "adam"}
    model = MLPRegressor(
        (features,), activation="logistic", learning_rate_init=RATES[optimizer], batch_size=batch_size,
        max_iter=epochs, n_iter_no_change=10**6, alpha=0, **solver,
    )  # fmt: skip
    rows = x.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model.fit(rows, rows)
    return (time.perf_counter() - start) / epochs


def stock_lightning(x, features, batch_size, epochs):
    """Seconds per epoch of a stock Trainer with a DataLoader."""
    stamps = []
    clock = LambdaCallback(on_train_epoch_end=lambda *_: stamps.append(time.perf_counter()))
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[clock], **dict.fromkeys(off, False))
    with quiet_lightning():
        trainer.fit(layer(x.shape[1], features, SGD), DataLoader(TensorDataset(x), batch_size, shuffle=True))
    return statistics.median(b - a for a, b in itertools.pairwise(stamps))


def layer(inputs, features, optimizer):
    return ae.DenoisingAutoencoder(
        (inputs,), ae.Dense(features), corruption=ae.Masking(0.25), likelihood=ae.Bernoulli(),
        optimizer=partial(optimizer, lr=RATES[optimizer]),
    )  # fmt: skip


def denoising(x, features, batch_size, epochs, optimizer=SGD, **options):
    return train(layer(x.shape[1], features, optimizer), [x], epochs, batch_size, **options)


def mlp(widths):
    layers = [nn.Sequential(nn.Linear(a, b), nn.Sigmoid()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*layers)


def classifier_by_hand(x, y, widths, classes, batch_size, epochs, optimizer=SGD):
    model = nn.Sequential(mlp(widths), nn.Linear(widths[-1], classes))
    step = lambda batch, labels: F.cross_entropy(model(batch), labels)  # noqa: E731
    return by_hand(step, optimizer(model.parameters(), lr=RATES[optimizer]), [x, y], epochs, batch_size)


def classifier(x, y, widths, classes, batch_size, epochs, optimizer=SGD):
    module = ae.Classifier(mlp(widths), classes, optimizer=partial(optimizer, lr=RATES[optimizer]))
    return train(module, [x, y], epochs, batch_size)
