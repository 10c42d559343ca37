"""Greedy pretraining against the outside peer."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

import aepretrain as ae

WIDTHS, EPOCHS, BATCH = [64, 256, 128, 10], 20, 32
PEER = Path(__file__).with_name("peer.py")


def seconds_by_hand(x):
    """Seconds of the same training as a plain loop: the least that eager torch takes."""
    start = time.perf_counter()
    for width in WIDTHS[1:]:
        f = nn.Sequential(nn.Linear(x.shape[1], width), nn.Identity() if width == WIDTHS[-1] else nn.LeakyReLU())
        g = nn.Linear(width, x.shape[1])
        optimizer = Adam([*f.parameters(), *g.parameters()], fused=True)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(BATCH):
                batch = x[rows]
                optimizer.zero_grad()
                (0.5 * (g(f(batch)) - batch).square().sum(1).mean()).backward()
                optimizer.step()
        x = f(x).detach()
    return time.perf_counter() - start


@pytest.mark.skipif(importlib.util.find_spec("clustpy") is None, reason="pip install clustpy==0.0.3")
@pytest.mark.parametrize("validate_every", [EPOCHS, 1])
def test_against_clustpy(validate_every, side_by_side, tmp_path):
    """ClustPy does not validate, so the same work is a single validation at the end; the default is one per epoch."""
    data, errors, by_hand = ae.Digits(), {"ours": [], "theirs": []}, []
    x = data.splits().unlabelled
    np.save(tmp_path / "x.npy", x.flatten(1).numpy())

    def ours():
        layers = [
            lambda shape, width=width, last=width == WIDTHS[-1]: ae.PlainAutoencoder(
                shape, ae.Dense(width, activation="linear" if last else "leaky_relu")
            )
            for width in WIDTHS[1:]
        ]
        start = time.perf_counter()
        settings = ae.Pretraining(epochs=EPOCHS, batch_size=BATCH, validate_every=validate_every)
        stack = ae.GreedyStack(data.in_shape, layers).fit(data, settings)
        taken = time.perf_counter() - start
        by_hand.append(seconds_by_hand(x.flatten(1)))
        with torch.no_grad():
            errors["ours"].append((stack.reconstruct(x) - x).square().mean().item())
        return taken

    def theirs():
        # In a process of its own: what is tuned in ours, such as malloc, would serve both.
        words = [tmp_path / "x.npy", torch.get_num_threads(), EPOCHS, BATCH, *WIDTHS]
        answer = subprocess.run(
            [sys.executable, str(PEER), *map(str, words)], check=True, capture_output=True, text=True
        )
        found = json.loads(answer.stdout.splitlines()[-1])
        errors["theirs"].append(found["error"])
        return found["seconds"]

    side_by_side(
        "greedy pretraining 64-256-128-10 on digits, 20 epochs per layer, batch 32, Adam, "
        f"{'the same work' if validate_every == EPOCHS else 'validated after every epoch'}, "
        "against ClustPy 0.0.3 in a process of its own",
        ours, theirs, least=3 if validate_every == EPOCHS else None,
        note=lambda: (
            f"mean squared error {mean(errors['ours']):.3f} / {mean(errors['theirs']):.3f}; a loop by hand takes "
            f"{1000 * median(by_hand):.0f} ms in our process, without validation and logging"
        ),
    )  # fmt: skip
    assert mean(errors["ours"]) <= mean(errors["theirs"])
