"""On a GPU: ours against stock Lightning, and against a CUDA graph written by hand."""

import time
from functools import partial
from itertools import pairwise

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

import aepretrain as ae
from tests.benchmarks.loops import data, denoising

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

FEATURES, LAYERS, BATCH, EPOCHS, HELD_OUT = 1000, 3, 128, 2, 0.01
GPU = {"accelerator": "gpu", "precision": "bf16-mixed"}


class Stock(lightning.LightningModule):
    """A denoising layer on frozen ones, as one writes it with Lightning."""

    def __init__(self, below, inputs, features):
        super().__init__()
        self.below = below.eval().requires_grad_(False)
        self.f, self.g = nn.Sequential(nn.Linear(inputs, features), nn.Sigmoid()), nn.Linear(features, inputs)

    def training_step(self, batch, batch_idx):
        x = self.below(batch[0])
        y = self.g(self.f(x * (torch.rand_like(x) >= 0.25)))
        loss = F.binary_cross_entropy_with_logits(y, x, reduction="none").sum(1).mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return SGD([*self.f.parameters(), *self.g.parameters()], lr=0.01)


def stock(x, widths, epochs, batch_size, **options):
    """Seconds of greedy pretraining."""
    loader = DataLoader(TensorDataset(x), batch_size, shuffle=True, num_workers=4, pin_memory=True)
    below, start = nn.Sequential(), time.perf_counter()
    for inputs, features in pairwise(widths):
        layer = Stock(below, inputs, features)
        lightning.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, **options).fit(layer, loader)
        below = nn.Sequential(*below, layer.f)
    return time.perf_counter() - start


def ours(x, widths, epochs, batch_size, **options):
    """Seconds of greedy pretraining, codes of finished layers included."""
    layers = [
        lambda shape, features=features: ae.DenoisingAutoencoder(
            shape, ae.Dense(features), likelihood=ae.Bernoulli(), optimizer=partial(SGD, lr=0.01)
        )
        for features in widths[1:]
    ]
    source = ae.Arrays(x, validation=HELD_OUT, test=HELD_OUT)
    source.splits()
    start = time.perf_counter()
    context = ae.RunContext(trainer=ae.TrainerOptions(**options))
    ae.GreedyStack((widths[0],), layers).fit(source, ae.Pretraining(epochs=epochs, batch_size=batch_size), context)
    return time.perf_counter() - start


def graph_by_hand(x, features, batch_size, epochs):
    """Seconds of an epoch whose steps are one CUDA graph each, with a gather before it."""
    x = x.cuda()
    f = nn.Sequential(nn.Linear(x.shape[1], features), nn.Sigmoid()).cuda()
    g = nn.Linear(features, x.shape[1]).cuda()
    optimizer = SGD([*f.parameters(), *g.parameters()], lr=0.01, fused=True)
    batch = x[:batch_size].clone()

    def step():
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            y = g(f(batch * (torch.rand_like(batch) >= 0.25)))
        loss = F.binary_cross_entropy_with_logits(y.float(), batch, reduction="none").sum(1).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    times, whole = [], len(x) // batch_size * batch_size
    for _ in range(epochs):
        torch.cuda.synchronize()
        start, total = time.perf_counter(), torch.zeros((), device="cuda")
        for rows in torch.randperm(len(x), device="cuda")[:whole].split(batch_size):
            torch.index_select(x, 0, rows, out=batch)
            graph.replay()
            total += loss
        float(total)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[len(times[1:]) // 2]


def test_against_stock_lightning(side_by_side):
    x, widths = data(784), [784, *[FEATURES] * LAYERS]
    side_by_side(
        f"greedy pretraining {'-'.join(map(str, widths))}, masking, batch {BATCH}, bf16-mixed, on a GPU, against stock "
        "Lightning with a DataLoader",
        lambda: ours(x, widths, EPOCHS, BATCH, **GPU),
        lambda: stock(x[: int((1 - 2 * HELD_OUT) * len(x))], widths, EPOCHS, BATCH, **GPU, enable_model_summary=False),
        least=20,
        note=f"{EPOCHS} epochs a layer",
    )


@pytest.mark.parametrize("batch_size", [20, BATCH])
def test_against_a_graph_by_hand(batch_size, side_by_side):
    x = data(784, 50_000 // batch_size * batch_size)
    side_by_side(
        f"step of a denoising layer 784-{FEATURES}, batch {batch_size}, bf16-mixed, on a GPU, against a graph by hand",
        lambda: denoising(x, FEATURES, batch_size, 5, **GPU),
        lambda: graph_by_hand(x, FEATURES, batch_size, 5),
        most=1.15,
    )
