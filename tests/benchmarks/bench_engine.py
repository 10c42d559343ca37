"""Our steps against those of a loop written by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import SGD

import aepretrain as ae
from tests.benchmarks.loops import classifier, classifier_by_hand, data, denoising, denoising_by_hand, train
from tests.benchmarks.many_seeds import measure, measure_finetuning


@pytest.mark.parametrize(
    ("inputs", "features", "batch_size", "rows", "most"),
    [(784, 1000, 20, 4_000, 1.10), (784, 1000, 128, 6_400, 1.05), (64, 32, 20, 20_000, 1.3)],
)
def test_step(inputs, features, batch_size, rows, most, side_by_side):
    x = data(inputs, rows)
    side_by_side(
        f"step of a denoising layer {inputs}-{features}, batch {batch_size}, against by hand",
        lambda: denoising(x, features, batch_size, 3),
        lambda: denoising_by_hand(x, features, batch_size, 3),
        most=most,
        note=f"an epoch of {rows // batch_size} steps",
    )


def test_finetuning(side_by_side):
    x, y = data(784, 2_000), torch.arange(2_000) % 10
    widths = [784, 1000, 1000, 1000]
    side_by_side(
        "fine-tuning 784-1000-1000-1000-10, batch 20, against by hand",
        lambda: classifier(x, y, widths, 10, 20, 3),
        lambda: classifier_by_hand(x, y, widths, 10, 20, 3),
        most=1.10,
        note="an epoch of 100 steps",
    )


def test_depth(side_by_side):
    x, widths = data(256, 4_000), [256, 256, 256]
    shape, epochs = (256,), 4
    layer = lambda shape: ae.DenoisingAutoencoder(shape, ae.Dense(256), optimizer=partial(SGD, lr=0.01))  # noqa: E731

    def third():
        # Stages of one epoch below it; of the third the same figures as of a layer that stands alone.
        stack = ae.GreedyStack(shape, [layer] * 3)
        stack.fit(ae.Arrays(x, validation=0.02, test=0.02), ae.Pretraining(epochs=[1, 1, epochs], batch_size=32))
        return sorted(epoch["epoch_seconds"] for epoch in stack.records[2].history[1:])[1]

    codes = x[: int(0.96 * len(x))]
    side_by_side(
        f"epoch of layer 3 of {'-'.join(map(str, [*widths, 256]))}, against that layer alone",
        third,
        lambda: train(layer(shape), [codes], epochs, 32),
        most=1.10,
    )


def test_larger_than_memory(side_by_side, tmp_path):
    rows = 40_000
    x = np.random.default_rng(0).integers(0, 256, (rows, 784), np.uint8)
    np.save(tmp_path / "x.npy", x)

    def epoch(budget):
        data = ae.MappedArray(str(tmp_path / "x.npy"), validation=100, test=100, memory_budget=budget)
        stack = ae.GreedyStack((784,), [lambda shape: ae.DenoisingAutoencoder(shape, ae.Dense(1000))])
        stack.fit(data, ae.Pretraining(epochs=2, batch_size=128), ae.RunContext(progress=False))
        return stack.records[0].history[-1]["epoch_seconds"]

    side_by_side(
        "epoch of a layer 784-1000, batch 128, data four times the memory budget, against in memory",
        lambda: epoch(x.size * 4 // 4),
        lambda: epoch(None),
        most=1.3,
        note="40,000 rows, 125 MB as float32",
    )


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(
    ("what", "timed"), [("a layer 64-256", measure), ("fine-tuning 64-256-10", measure_finetuning)]
)
def test_eight_seeds(what, timed, optimizer, side_by_side):
    eight = partial(timed, 64, 256, 32, optimizer, seeds=8, steps=400, epochs=10)
    side_by_side(
        f"8 seeds of {what}, batch 32, {optimizer}, at once against in turn",
        partial(eight, together=True),
        partial(eight, together=False),
        least=2,
    )


@pytest.mark.parametrize("batch_size", [20, 128])
def test_contraction_in_closed_form(batch_size, side_by_side):
    x = data(784, 100 * batch_size)
    contractive = lambda: ae.ContractiveAutoencoder((784,), ae.Dense(256), optimizer=partial(SGD, lr=0.01))  # noqa: E731
    plain = lambda: ae.PlainAutoencoder((784,), ae.Dense(256), optimizer=partial(SGD, lr=0.01))  # noqa: E731
    side_by_side(
        f"contractive layer 784-256, batch {batch_size}, against a plain one",
        lambda: train(contractive(), [x], 3, batch_size),
        lambda: train(plain(), [x], 3, batch_size),
        most=1.5,
        note="closed form",
    )


def test_contraction_by_projections(side_by_side):
    x, coder = data(784, 6_400), ae.Dense(64, hidden=[256])
    contractive = lambda: ae.ContractiveAutoencoder(  # noqa: E731
        (784,), coder, projections=1, optimizer=partial(SGD, lr=0.01)
    )
    plain = lambda: ae.PlainAutoencoder((784,), coder, optimizer=partial(SGD, lr=0.01))  # noqa: E731
    side_by_side(
        "contractive coder 784-(256)-64, batch 128, against a plain one",
        lambda: train(contractive(), [x], 3, 128),
        lambda: train(plain(), [x], 3, 128),
        most=3,
        note="one random projection",
    )
