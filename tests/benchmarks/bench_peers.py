"""Greedy pretraining against the outside peer."""

import logging
import time
from statistics import mean

import pytest
import torch

import aepretrain as ae

WIDTHS, EPOCHS, BATCH = [64, 256, 128, 10], 20, 32


def test_against_clustpy(side_by_side, monkeypatch):
    neural_networks = pytest.importorskip("clustpy.deep.neural_networks", reason="pip install clustpy==0.0.3")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    logging.disable(logging.WARNING)
    data, errors = ae.Digits(), {"ours": [], "theirs": []}
    x = data.splits().unlabelled
    flat = x.flatten(1)

    def ours():
        layers = [
            lambda shape, width=width, last=width == WIDTHS[-1]: ae.PlainAutoencoder(
                shape, ae.Dense(width, activation="linear" if last else "leaky_relu")
            )
            for width in WIDTHS[1:]
        ]
        start = time.perf_counter()
        stack = ae.GreedyStack(data.in_shape, layers).fit(data, ae.Pretraining(epochs=EPOCHS, batch_size=BATCH))
        taken = time.perf_counter() - start
        with torch.no_grad():
            errors["ours"].append((stack.reconstruct(x) - x).square().mean().item())
        return taken

    def theirs():
        stack = neural_networks.StackedAutoencoder(WIDTHS)
        start = time.perf_counter()
        stack.layerwise_training(n_epochs_per_layer=EPOCHS, batch_size=BATCH, data=flat)
        taken = time.perf_counter() - start
        stack.eval()
        with torch.no_grad():
            errors["theirs"].append((stack(flat) - flat).square().mean().item())
        return taken

    side_by_side(
        "greedy pretraining 64-256-128-10 on digits, 20 epochs per layer, batch 32, Adam, against ClustPy 0.0.3",
        ours, theirs, least=3,
        note=lambda: f"mean squared error {mean(errors['ours']):.3f} / {mean(errors['theirs']):.3f}",
    )  # fmt: skip
    assert mean(errors["ours"]) <= mean(errors["theirs"])
