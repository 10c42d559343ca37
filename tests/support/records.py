"""Runs and comparisons for the tests of the report: small, real, and trained once per module."""

import yaml

from aepretrain.cli.main import main
from aepretrain.results.run import DataFacts, RunResult

LAYER = {
    "class_path": "DenoisingAutoencoder",
    "init_args": {"coder": {"class_path": "Dense", "init_args": {"features": 16}}},
}
SETTINGS = {
    "layers": [LAYER, {"class_path": "PlainAutoencoder", "init_args": LAYER["init_args"]}],
    "pretrain": {"epochs": 2},
    "finetune": {"epochs": 3, "batch_size": 16},
    "compare": {"seeds": 3, "labels": [50, None], "baselines": ["knn"]},
}


def write_config(folder, **changes):
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return str(path)


def make(verb, folder, **changes):
    """The directory of a run or comparison that the command made."""
    out = folder / verb
    assert main([verb, "--config", write_config(folder, **changes), "--out", str(out)]) == 0
    return out


def run_result(**changes):
    """What a run found that pretrained nothing and has no classifier."""
    data = DataFacts("Digits", (1, 8, 8), 10, unlabelled=1197, labelled=50, validation=300, test=300)
    facts = {"stages": (), "classifier": None, "data": data, "versions": {"torch": "2.14"}}
    return RunResult(**{**facts, "seed": 0, "device": "cpu", "processes": 1, **changes})
