"""Runs to compare bit for bit: what must be equal, and what a clock may change. Used by test_faults.py."""

import json
import os
import subprocess
import time
from pathlib import Path

import yaml

from tests.support.programs import ROOT, call

VARIANTS = {
    "PlainAutoencoder": {},
    "SparseAutoencoder": {"lam": 0.01},
    "DropoutAutoencoder": {"p": 0.3},
    "ContractiveAutoencoder": {"lam": 0.01},
    "DenoisingAutoencoder": {"corruption": {"class_path": "Masking", "init_args": {"p": 0.3}}},
    "VariationalAutoencoder": {},
    "RestrictedBoltzmannMachine": {"persistent": 7},
    "AdversarialAutoencoder": {"discriminator": [8]},
}
STEPS = {"00": 30, "01": 20, "classifier": 24}
"""Optimizer steps of the stages of :func:`config`."""
CLOCKS = ("seconds", "epoch_seconds")


def config(variant, folder, **changes):
    """A run of three stages with all that has a state: noise, shuffling, schedulers, patience, dropout, max-norm."""
    coders = [{"class_path": "Dense", "init_args": {"features": n, "activation": "sigmoid"}} for n in (12, 8)]
    layer = {"class_path": variant}
    values = {
        "data": {"class_path": "Digits", "init_args": {"labels": 250}},
        "layers": [{**layer, "init_args": {**VARIANTS[variant], "coder": coder, **PLATEAU}} for coder in coders],
        "pretrain": {"epochs": [3, 2], "batch_size": [128, 128], "patience": [2, None]},
        "classifier": {
            "dropout": 0.2,
            "input_dropout": 0.1,
            "max_norm": 1.0,
            "weight_decay": 0.001,
            **FAST,
            **SCHEDULE,
        },
        "finetune": {"epochs": 6, "batch_size": 64, "patience": 2, "validate_every": 2},
        "checkpoint": {"every_steps": 4},
        "report": False,
        **changes,
    }
    path = Path(folder) / f"{variant}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


FAST = {"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.03}}}
SCHEDULE = {"scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1, "gamma": 0.7}}}
PLATEAU = {
    "scheduler": {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {"patience": 0}},
}


def stages_of(variant):
    name = "boltzmann" if "Boltzmann" in variant else variant.removesuffix("Autoencoder").lower()
    return {f"00-{name}": STEPS["00"], f"01-{name}": STEPS["01"], "classifier": STEPS["classifier"]}


class Runner:
    """Runs the command as often as one likes, and does to it what one likes: see killing.py."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def run(self, *words, log="log.txt", folder=ROOT, environment=None, **job):
        """The exit code of the command, and what it said.

        Args:
            words: The words of the command, without the program's name.
            log: Name of the file that takes what it says.
            folder: Current folder of the command.
            environment: Variables for it beside those of this process.
            job: What happens to it: see ``run`` in killing.py.
        """
        path = self.folder / log
        job |= {"words": [str(word) for word in words]}
        with path.open("w") as file:
            program = call(
                "tests.support.killing:run", job, stdout=file.fileno(), stderr=subprocess.STDOUT,
                cwd=folder, env={**os.environ, **(environment or {})},
            )  # fmt: skip
            return program.wait(), path.read_text()


def members(process):
    """The ids of all processes of a group, which is that of a process started with ``start_new_session``."""
    found = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split()]


def all_left(process, seconds=5):
    """Whether nobody of a group is left, or will be in a moment: the system buries orphans."""
    end = time.monotonic() + seconds
    while (found := members(process)) and time.monotonic() < end:
        time.sleep(0.05)
    return not found


def differences(one, other):
    """The names of what differs between two finished runs, bit for bit, but for clocks."""
    found = [str(path.relative_to(one)) for path in sorted(one.rglob("*")) if path.is_file()]
    theirs = [str(path.relative_to(other)) for path in sorted(other.rglob("*")) if path.is_file()]
    names = [name for name in found if name not in ("train.log", "state.json", "commands.txt", "report.html")]
    different = sorted(set(found) ^ set(theirs))
    return different + [name for name in names if (other / name).is_file() and _read(one, name) != _read(other, name)]


def _read(folder, name):
    path = folder / name
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [{**row, "value": 0} if row["name"] in CLOCKS else row for row in rows]
    if path.suffix == ".json":
        return _without_clocks(json.loads(path.read_text()))
    return path.read_bytes()


def _without_clocks(value):
    if isinstance(value, dict):
        return {key: _without_clocks(entry) for key, entry in value.items() if key not in CLOCKS}
    return [_without_clocks(entry) for entry in value] if isinstance(value, list) else value
