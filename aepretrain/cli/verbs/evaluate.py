"""``aepretrain evaluate``: evaluate a finished run again from its files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aepretrain.cli.config import load_experiment
from aepretrain.cli.finished_run import FinishedRun
from aepretrain.cli.own_options import parse_own, take_prefixed
from aepretrain.cli.resolved import path_keys
from aepretrain.cli.terminal import print_measurements
from aepretrain.console import counted, print_line
from aepretrain.data import DataModule
from aepretrain.data.fingerprint import check_data
from aepretrain.data.origin import listed
from aepretrain.errors import ConfigError, DataError
from aepretrain.export.encoder import load_encoder
from aepretrain.layers.diagnostics import ACTIVE_VARIANCE
from aepretrain.layers.variational import PART, VariationalAutoencoder
from aepretrain.parts.noise import Noise
from aepretrain.results.run import RunResult
from aepretrain.runs.directory import check_no_comparison
from aepretrain.runs.loading import load_head
from aepretrain.runs.measuring import measure
from aepretrain.storage.yaml_files import read_yaml
from aepretrain.training.recovery.signals import stop_at_signal

WAY_OUT = "Name a directory that fit wrote."


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    keywords: dict[str, dict[str, Any]] = {
        "--other_data": {"action": "store_true"},
        "--nll-samples": {"type": int | None, "default": None},
    }
    words, moved = take_prefixed(arguments, "--data.")
    parsed = parse_own("evaluate", words, "RUN [--data.root PATH]", keywords)
    folder = Path(parsed.run)
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder} is not a run directory: it has no config.yaml. Name one that fit wrote.")
    check_no_comparison(folder, f"Name one of these, or see {folder / 'results.csv'}.")
    experiment = load_experiment(folder / "config.yaml", places=_data_paths(folder / "config.yaml", moved))
    layer = None if parsed.nll_samples is None else _variational(folder, parsed.nll_samples)
    if layer is None and not experiment.has_classifier:
        raise ConfigError(f"{folder} has no head to evaluate: its data have no labels, or it trained 0 epochs.")
    _restore_transform(experiment.data, folder)
    _check_data(experiment.data, folder, other_data=parsed.other_data)
    if layer is not None:
        with stop_at_signal("while the likelihood was measured"):
            noise = Noise(torch.Generator().manual_seed(experiment.seed))
            _print_likelihood(layer, experiment.data.splits(experiment.seed).test.x[:], parsed.nll_samples, noise)
        return
    with stop_at_signal("while the head was measured"):
        found = measure(load_head(experiment, folder), experiment.data, experiment.seed)
    print_measurements(found.validation, found.test, experiment.data.class_names)


def _data_paths(config: Path, options: Sequence[str]) -> Sequence[str]:
    """The options that name other places of a run's data.

    Raises:
        ConfigError: If one is no path of the data.
    """
    known = [f"--{key.replace('.init_args', '')}" for key in sorted(path_keys(read_yaml(config, WAY_OUT)[0]))]
    for option in options:
        if option.startswith("--") and option.split("=")[0] not in known:
            raise ConfigError(
                f"{option.split('=')[0]} does not name a path of the run's data; allowed are: "
                f"{', '.join(known) or 'none, as they have no path'}. Leave it out."
            )
    return options


def _variational(folder: Path, samples: int) -> VariationalAutoencoder:
    """The first layer of a run, if it has a likelihood.

    Raises:
        ConfigError: If it has none, or there are no samples.
    """
    if samples < 1:
        raise ConfigError(f"--nll-samples must be at least 1, but is {samples}. Burda et al. take 5000.")
    stack = FinishedRun(folder).stack
    first = next(iter(stack))
    if not isinstance(first, VariationalAutoencoder):
        raise ConfigError(
            f"--nll-samples is for a variational first layer, but that of {folder} is {stack.stages[0]}. Leave it out."
        )
    return first


@torch.no_grad()
def _print_likelihood(layer: VariationalAutoencoder, x: Tensor, samples: int, noise: Noise) -> None:
    """Print the likelihood of test rows and what the code uses, of a model without labels."""
    found = []
    with counted(len(x)) as count_on:
        for part in layer.observed(x, noise).split(PART):
            found.append(layer.log_likelihood(part, samples, noise))
            count_on(len(part))
    nll = -torch.cat(found)
    active = (layer.unit_diagnostics(x)["variance"] > ACTIVE_VARIANCE).sum()
    print_line(
        f"test data  NLL {nll.mean():.2f} ± {nll.std() / math.sqrt(len(x)):.2f} nats per example over {len(x):,} rows "
        f"({samples} importance samples)  active units {active} of {math.prod(layer.code_shape)}"
    )


def _restore_transform(data: DataModule, folder: Path) -> None:
    """Apply the run's transform to the data, and check that the shape of the examples and the classes are unchanged.

    The order of columns needs no check: the run's config names them.

    Raises:
        DataError: If examples have another shape, or the labels name other classes.
    """
    if data.unused:
        names = ", ".join(data.unused[:20]) + (", …" if len(data.unused) > 20 else "")
        print_line(f"warning: {data.name} ignores columns that the run was not trained on: {names}")
    if not (folder / "encoder" / "config.json").is_file():
        return  # a cell of a comparison without pretraining has no encoder folder
    encoder = load_encoder(folder / "encoder")
    if encoder.in_shape != tuple(data.raw_shape):
        raise DataError(
            f"{data.name} gives examples of shape {tuple(data.raw_shape)}, but the run in {folder} was trained on "
            f"{encoder.in_shape}. Name data whose columns are as many and as wide as they were."
        )
    data.use_transform(encoder.transform)


def _check_data(data: DataModule, folder: Path, *, other_data: bool) -> None:
    """Check that the data are those of the run.

    Raises:
        DataError: If they changed; with ``other_data``, only if the classes have other names.
    """
    if not (folder / "results.json").is_file():
        return  # without results there is no finished classifier, which is reported when it is loaded
    facts = RunResult.read(folder / "results.json").data
    recorded = facts.fingerprint
    if not other_data or recorded is None:
        way_out = "Put the data of the run back, or measure on these by --other_data."
        check_data(data, recorded, str(folder), way_out)
    elif changes := recorded.changes(data.fingerprint()):
        print_line(f"warning: these are not the data of the run: {', '.join(changes)} changed")
    names = None if recorded is None or recorded.classes is None else list(recorded.classes)
    own = (data.num_classes, data.num_targets, data.class_names)
    if (before := (facts.classes, facts.targets, names)) != own and recorded is not None:
        raise DataError(
            f"{data.name} has {_words(*own)}, but the run in {folder} was trained on {_words(*before)}. Name and "
            "number the classes as they were, or set data.target_type."
        )


def _words(classes: int | None, targets: int | None, names: Sequence[str] | None) -> str:
    if classes is None:
        return "no labels" if targets is None else "a real target"
    return f"{classes} classes numbered from 0" if names is None else f"the classes {listed(names)}"
