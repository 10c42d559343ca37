"""Loops written by hand, which import torch alone."""

import itertools
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam

RATES = {SGD: 0.01, Adam: 0.001}


def data(features, rows=50_000):
    return torch.rand(rows, features, generator=torch.Generator().manual_seed(1))


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


def mlp(widths):
    layers = [nn.Sequential(nn.Linear(a, b), nn.Sigmoid()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*layers)


def classifier_by_hand(x, y, widths, classes, batch_size, epochs, optimizer=SGD):
    model = nn.Sequential(mlp(widths), nn.Linear(widths[-1], classes))
    step = lambda batch, labels: F.cross_entropy(model(batch), labels)  # noqa: E731
    return by_hand(step, optimizer(model.parameters(), lr=RATES[optimizer]), [x, y], epochs, batch_size)
