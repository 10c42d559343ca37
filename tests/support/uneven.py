"""A program for test_uneven.py: trains on data whose last batch no number of processes can share equally.

Run as ``uneven.py FILE PROCESSES ENGINE``; the file gets every figure and the weights of each training, as JSON.
"""

import copy
import json
import sys
from pathlib import Path

import torch

import aepretrain as ae
from aepretrain.processes import is_first_process, leave_process_group

CASES = {"odd": (1197, 201), "less than processes": (257, 33), "in parts": (261, 33)}
"""Examples for training and for validation; of the last batch of 128 remain 45, 1 and 5."""


class Examples(ae.Arrays):
    """So many examples for training and for validation, of which the sums of features decide the class."""

    def __init__(self, train, validation):
        count = train + 2 * validation
        share = (validation - 0.5) / count  # shares are rounded up
        x = torch.rand(count, 6, generator=torch.Generator().manual_seed(0))
        super().__init__(x, self.labels_of(x), validation=share, test=share)
        found = self.splits()
        assert (len(found.train), len(found.validation)) == (train, validation)

    @staticmethod
    def labels_of(x):
        return (x.sum(1) > 3).long()


class Sums(Examples):
    """The same with these sums as real targets."""

    @staticmethod
    def labels_of(x):
        return 20 + 5 * x.sum(1)


def figures(case, options):
    data, context = Examples(*CASES[case]), ae.RunContext(trainer=options, progress=False)
    layer = lambda shape: ae.ContractiveAutoencoder(shape, ae.Dense(5), optimizer=momentum)  # noqa: E731
    stack = ae.GreedyStack((6,), [layer]).fit(data, ae.Pretraining(epochs=2, batch_size=128), context)
    head = ae.Classifier(stack.encoder, 2, optimizer=momentum, weight_decay=0.01)
    tuned = ae.finetune(head, data, ae.FineTuning(epochs=3, batch_size=128), context, pretrained=stack.encoder)
    real, regressor = Sums(*CASES[case]), ae.Regressor(copy.deepcopy(stack.encoder), optimizer=momentum)
    measured = ae.finetune(regressor, real, ae.FineTuning(epochs=3, batch_size=128), context)
    histories = [record.history for record in (*stack.records, tuned.record, measured.record)]
    rows = [{name: row[name] for name in row if name != "epoch_seconds"} for each in histories for row in each]
    trained = (*stack.parameters(), *head.parameters(), *regressor.parameters())
    weights = torch.cat([weight.detach().flatten() for weight in trained]).tolist()
    steps = [record.steps for record in (stack.records[0], tuned.record, measured.record)]
    return {"rows": rows, "weights": weights, "steps": steps}


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def main():
    path, processes, engine = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    found = {}
    for case in CASES:
        if case == "in parts" and engine == "lightning":
            continue
        options = ae.TrainerOptions(
            accelerator="cpu",
            devices=processes,
            strategy="ddp" if processes > 1 else "auto",
            engine=engine,
            accumulate=4 if case == "in parts" else 1,
        )
        found[case] = figures(case, options)
    if is_first_process():
        path.write_text(json.dumps(found))
    leave_process_group()


if __name__ == "__main__":
    main()
