"""A program for test_distributed.py: each process writes down which examples it trained on, and its weights' bits.

The first also writes down what they found in validation, and what it finds alone.

Run as ``shares.py OUT``, by torchrun or with two devices of Lightning's own launcher.
"""

import json
import os
import sys
from itertools import count
from pathlib import Path

import torch

import aepretrain as ae
from aepretrain.heads.classification import evaluate_classifier
from aepretrain.processes import is_first_process, leave_process_group
from aepretrain.results.records import to_plain
from aepretrain.training import loop, stage


def write_down(out):
    """Write a file per stage and process when the stage ends."""
    take_step, agree, rows, stages = loop.OptimizerStep.__call__, stage.check_ranks_agree, [], count()

    def taken(step, batch, *place):
        rows.append(batch[0][:, 0].tolist())
        return take_step(step, batch, *place)

    def agreed(module, fabric):
        agree(module, fabric)
        weights = [tensor.flatten().tolist() for tensor in module.parameters()]
        path = out / f"stage{next(stages)}-rank{fabric.global_rank}.json"
        path.write_text(json.dumps({"rows": rows, "weights": weights, "processes": fabric.world_size}))
        rows.clear()

    loop.OptimizerStep.__call__, stage.check_ranks_agree = taken, agreed


def main():
    out = Path(sys.argv[1])
    x = torch.rand(101, 6, generator=torch.Generator().manual_seed(0))
    data = ae.Arrays(x, torch.arange(101) % 2, validation=0.21, test=0.18)
    rank = int(os.environ.get("LOCAL_RANK", 0))  # even initial weights that differ have to be made equal
    write_down(out)
    layers = [
        lambda shape: ae.DenoisingAutoencoder(shape, ae.Dense(5)),
        lambda shape: ae.RestrictedBoltzmannMachine(shape, ae.Dense(5), persistent=3),  # chains have to agree, too
    ]
    options = ae.TrainerOptions(accelerator="cpu", devices=2, strategy="ddp")
    context = ae.RunContext(trainer=options, progress=False)
    stack = ae.GreedyStack((6,), layers, seed=rank).fit(data, ae.Pretraining(epochs=2, batch_size=8), context)
    model, length = ae.Classifier(stack.encoder, 2), ae.FineTuning(epochs=2, batch_size=8)
    tuned = ae.finetune(model, data, length, context, pretrained=stack.encoder)
    if is_first_process():
        held_out = data.splits().validation
        alone = evaluate_classifier(model, held_out.x, held_out.y)
        together = {name.removeprefix("val/"): value for name, value in tuned.record.metrics.items()}
        (out / "figures.json").write_text(json.dumps({"alone": to_plain(alone), "together": together}))
    real = ae.Arrays(x, 300 + 40 * x.sum(dim=1), validation=0.21, test=0.18)
    model = ae.Regressor(torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh())))
    tuned = ae.finetune(model, real, length, context)
    if is_first_process():
        alone = model.measure(*real.splits().validation.tensors())
        together = {name.removeprefix("val/"): value for name, value in tuned.record.metrics.items()}
        (out / "regression.json").write_text(json.dumps({"alone": to_plain(alone), "together": together}))
    leave_process_group()


if __name__ == "__main__":
    main()
