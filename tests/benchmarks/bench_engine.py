"""Our steps against those of a loop written by hand."""

import importlib.util
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim import SGD, Adam

import aepretrain as ae
from tests.benchmarks.by_hand import (
    RATES,
    classifier_by_hand,
    data,
    denoising_by_hand,
    denoising_written_out,
)
from tests.benchmarks.many_seeds import measure, measure_finetuning
from tests.benchmarks.ours import classifier, denoising, train
from tests.benchmarks.peers import regressor, stock_lightning

ROOT = Path(__file__).parents[2]
STEPS = [
    (64, 32, 20, SGD, 20_000, {"recorded": 0.40, "compiled": 0.25}),
    (64, 256, 32, Adam, 16_000, {"recorded": 0.50, "compiled": 0.40}),
    (784, 1000, 20, SGD, 4_000, {"recorded": 0.75, "compiled": 0.75}),
    (784, 1000, 128, Adam, 6_400, {"recorded": 1.0}),
]


@pytest.mark.parametrize("steps", ["recorded", "compiled"])
@pytest.mark.parametrize(("inputs", "features", "batch_size", "optimizer", "rows", "most"), STEPS)
def test_step(inputs, features, batch_size, optimizer, rows, most, steps, side_by_side):
    what = (data(inputs, rows), features, batch_size, 3, optimizer)
    side_by_side(
        f"{steps} step of a denoising layer {inputs}-{features}, batch {batch_size}, {optimizer.__name__}, "
        "against by hand",
        lambda: denoising(*what, steps=steps),
        lambda: denoising_by_hand(*what),
        most=most.get(steps),
        note=f"an epoch of {rows // batch_size} steps",
    )


@pytest.mark.parametrize(("inputs", "features", "batch_size", "optimizer", "rows"), [row[:5] for row in STEPS])
def test_step_against_gradients_written_out(inputs, features, batch_size, optimizer, rows, side_by_side):
    what = (data(inputs, rows), features, batch_size, 3, optimizer)
    side_by_side(
        f"recorded step of {inputs}-{features}, batch {batch_size}, {optimizer.__name__}, against gradients derived by "
        "hand",
        lambda: denoising(*what, steps="recorded"),
        lambda: denoising_written_out(*what),
    )


@pytest.mark.parametrize("steps", ["recorded", "compiled"])
@pytest.mark.parametrize(("inputs", "features", "batch_size", "optimizer", "rows"), [row[:5] for row in STEPS[:2]])
def test_step_against_scikit_learn(inputs, features, batch_size, optimizer, rows, steps, side_by_side):
    what = (data(inputs, rows), features, batch_size, 3, optimizer)
    side_by_side(
        f"{steps} step of {inputs}-{features}, batch {batch_size}, {optimizer.__name__}, against scikit-learn's "
        "MLPRegressor",
        lambda: denoising(*what, steps=steps),
        lambda: regressor(*what),
        least=2,
        note="squared error and no noise there",
    )


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="pip install jax")
@pytest.mark.parametrize("steps", ["recorded", "compiled"])
@pytest.mark.parametrize(("inputs", "features", "batch_size", "optimizer", "rows"), [row[:5] for row in STEPS])
def test_step_against_jax(inputs, features, batch_size, optimizer, rows, steps, side_by_side):
    from tests.benchmarks.jax_loop import denoising_scanned

    x = data(inputs, rows)
    side_by_side(
        f"{steps} step of {inputs}-{features}, batch {batch_size}, {optimizer.__name__}, against jax.lax.scan",
        lambda: denoising(x, features, batch_size, 3, optimizer, steps=steps),
        lambda: denoising_scanned(x.numpy(), features, batch_size, 3, optimizer.__name__.lower(), RATES[optimizer]),
        note="an epoch is one compiled scan there",
    )


def test_step_against_stock_lightning(side_by_side):
    x = data(64, 20_000)
    side_by_side(
        "recorded step of 64-32, batch 20, SGD, against a stock Trainer with a DataLoader",
        lambda: denoising(x, 32, 20, 3),
        lambda: stock_lightning(x, 32, 20, 3),
    )


@pytest.mark.parametrize("who", ["by hand", "gradients by hand", "jax", "scikit-learn", "lightning"])
def test_whole_process(who, side_by_side):
    if who == "jax" and importlib.util.find_spec("jax") is None:
        pytest.skip("pip install jax")
    run = lambda who: subprocess.run([sys.executable, "-m", "tests.benchmarks.whole", who, "20"], check=True, cwd=ROOT)  # noqa: E731
    side_by_side(
        f"64-32, batch 20, SGD, 20 epochs of 1000 steps: whole process from start to prompt, against {who}",
        lambda: run("ours"),
        lambda: run(who),
        rounds=3,
        note="3 pairs, each a process of its own",
    )


@pytest.mark.parametrize(
    ("widths", "batch_size", "optimizer", "rows", "most"),
    [([784, 1000, 1000, 1000], 20, SGD, 2_000, 1.0), ([64, 256, 128], 32, Adam, 6_400, 0.5)],
)
def test_finetuning(widths, batch_size, optimizer, rows, most, side_by_side):
    what = (data(widths[0], rows), torch.arange(rows) % 10, widths, 10, batch_size, 3, optimizer)
    side_by_side(
        f"fine-tuning {'-'.join(map(str, widths))}-10, batch {batch_size}, {optimizer.__name__}, against by hand",
        lambda: classifier(*what),
        lambda: classifier_by_hand(*what),
        most=most,
        note=f"an epoch of {rows // batch_size} steps",
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
