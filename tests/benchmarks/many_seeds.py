"""Eight seeds at once against eight in turn: ``python tests/benchmarks/many_seeds.py [--repeats 5] [--seeds 8]``.

Each repeat measures both, one right after the other; the median of the ratios is printed for every layer and for the
fine-tuning of a classifier on it. It is no test and is not collected.
"""

import argparse
import statistics
import time
from functools import partial
from itertools import product

import torch
from torch.optim import SGD, Adam

from aepretrain import Arrays, Bernoulli, Classifier, DenoisingAutoencoder, Dense, FineTuning
from aepretrain.ensembles.stages import finetune_ensemble
from aepretrain.ensembles.train import train_ensemble
from aepretrain.finetuning.finetune import finetune
from aepretrain.training.context import RunContext
from aepretrain.training.options import StageSettings
from aepretrain.training.stage import train_stage

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
    settings = StageSettings("00", epochs, batch_size)
    models = layers(inputs, units, optimizer, seeds)
    start = time.perf_counter()
    if together:
        train_ensemble(models, [[x]] * seeds, [[x[:300]]] * seeds, settings, contexts)
    else:
        for model, context in zip(models, contexts, strict=True):
            train_stage(model, [x], [x[:300]], settings, context)
    return time.perf_counter() - start


def measure_finetuning(inputs, units, batch_size, optimizer, *, seeds, steps, epochs, together):
    """The same for classifiers on such a layer, each with labelled examples of its own."""
    labels, generator = steps // epochs * batch_size, torch.Generator().manual_seed(0)
    x = torch.rand(2 * labels + 600, inputs, generator=generator)
    shares = {"validation": 300 / len(x), "test": 300 / len(x)}
    data = Arrays(x, torch.arange(len(x)) % 10, **shares, labels=labels)
    length = FineTuning(epochs=epochs, batch_size=batch_size)
    contexts = [RunContext(seed=seed, progress=False) for seed in range(seeds)]
    models = [
        Classifier(layer.encoder, 10, optimizer=OPTIMIZERS[optimizer])
        for layer in layers(inputs, units, optimizer, seeds)
    ]
    start = time.perf_counter()
    if together:
        finetune_ensemble(models, data, length, contexts)
    else:
        for model, context in zip(models, contexts, strict=True):
            finetune(model, data, length, context)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("repeats", 5), ("seeds", 8), ("epochs", 10), ("steps", 400), ("layers", len(LAYERS))):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    print(f"{options.seeds} seeds, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for inputs, units, batch_size in LAYERS[: options.layers]:
        for optimizer, (stage, timed) in product(OPTIMIZERS, STAGES.items()):
            lengths = {"seeds": options.seeds, "steps": options.steps, "epochs": options.epochs}
            both = [
                partial(timed, inputs, units, batch_size, optimizer, **lengths, together=at) for at in (False, True)
            ]
            times = [[each() for each in both] for _ in range(options.repeats)]
            ratios = sorted(turn / once for turn, once in times)
            in_turn, at_once = (statistics.median(each) for each in zip(*times, strict=True))
            print(
                f"{inputs}-{units} batch {batch_size} {optimizer:4} {stage}  "
                f"in turn {in_turn:.2f} s  at once {at_once:.2f} s  ratio {statistics.median(ratios):.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )


STAGES = {"pretraining": measure, "fine-tuning": measure_finetuning}


if __name__ == "__main__":
    main()
