"""Eight seeds at once against eight in turn: ``python tests/benchmarks/many_seeds.py [--repeats 5] [--seeds 8]``.

Each repeat measures both, one right after the other; the median of the ratios is printed for every layer. It is no test
and is not collected.
"""

import argparse
import statistics
import time
from functools import partial

import torch
from torch.optim import SGD, Adam

from aepretrain import Bernoulli, DenoisingAutoencoder, Dense
from aepretrain.training.many_seeds import train_seeds
from aepretrain.training.stage import RunContext, train_stage

LAYERS = [(64, 256, 32), (256, 128, 32), (64, 64, 32), (256, 256, 32), (784, 100, 32), (784, 500, 20), (784, 1000, 20)]
OPTIMIZERS = {"SGD": partial(SGD, lr=0.1), "Adam": Adam}


def layers(inputs, units, optimizer, seeds):
    torch.manual_seed(0)
    settings = {"likelihood": Bernoulli(), "optimizer": OPTIMIZERS[optimizer]}
    return [DenoisingAutoencoder((inputs,), Dense(units), **settings) for _ in range(seeds)]


def measure(inputs, units, batch_size, optimizer, *, seeds, steps, epochs, together):
    """Seconds of all seeds, at once or in turn."""
    x = torch.rand(steps // epochs * batch_size, inputs, generator=torch.Generator().manual_seed(0))
    contexts = [RunContext(seed=seed, progress=False) for seed in range(seeds)]
    settings = {"stage": "00", "epochs": epochs, "batch_size": batch_size, "monitor": "val/reconstruction"}
    models = layers(inputs, units, optimizer, seeds)
    start = time.perf_counter()
    if together:
        train_seeds(models, [[x]] * seeds, [[x[:300]]] * seeds, contexts, **settings)
    else:
        for model, context in zip(models, contexts, strict=True):
            train_stage(model, [x], [x[:300]], context, **settings)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("repeats", 5), ("seeds", 8), ("epochs", 10), ("steps", 400), ("layers", len(LAYERS))):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    print(f"{options.seeds} seeds, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for inputs, units, batch_size in LAYERS[: options.layers]:
        for optimizer in OPTIMIZERS:
            lengths = {"seeds": options.seeds, "steps": options.steps, "epochs": options.epochs}
            times = [
                [
                    measure(inputs, units, batch_size, optimizer, **lengths, together=together)
                    for together in (False, True)
                ]
                for _ in range(options.repeats)
            ]
            ratios = sorted(turn / once for turn, once in times)
            in_turn, at_once = (statistics.median(each) for each in zip(*times, strict=True))
            print(
                f"{inputs}-{units} batch {batch_size} {optimizer:4}  in turn {in_turn:.2f} s  at once {at_once:.2f} s  "
                f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
