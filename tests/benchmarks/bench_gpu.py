"""On a GPU: ours against stock Lightning."""

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
from tests.benchmarks.by_hand import data

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
