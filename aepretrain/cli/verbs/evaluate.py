"""``aepretrain evaluate``: evaluate a finished run again from its files."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from aepretrain.cli.config import load_experiment
from aepretrain.cli.terminal import print_classifier
from aepretrain.console import print_line
from aepretrain.data import DataModule
from aepretrain.errors import ConfigError, DataError
from aepretrain.export.encoder import load_encoder
from aepretrain.runs.experiment import load_classifier, measure

DESCRIPTION = "Measure the classifier of a finished run again on validation and test data, from the run's files."


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parser = ArgumentParser(prog="aepretrain evaluate", description=DESCRIPTION, exit_on_error=False)
    parser.add_argument("run", type=Path, help="a run directory")
    try:
        folder: Path = parser.parse_args(list(arguments)).run
    except ArgumentError as error:
        raise ConfigError(f"{' '.join(str(error).split())}. Usage: aepretrain evaluate RUN") from error
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder} is not a run directory: it has no config.yaml. Name one that fit wrote.")
    if (folder / "runs").is_dir():
        raise ConfigError(
            f"{folder} holds a comparison, whose runs are in {folder / 'runs'}. Name one of these, or see "
            f"{folder / 'results.csv'}."
        )
    experiment = load_experiment(folder / "config.yaml")
    if not experiment.has_classifier:
        raise ConfigError(f"{folder} has no classifier to evaluate: its data have no classes, or it trained 0 epochs.")
    _restore_transform(experiment.data, folder)
    measured = measure(load_classifier(experiment, folder), experiment.data, experiment.seed)
    print_classifier(*measured, experiment.data.class_names)


def _restore_transform(data: DataModule, folder: Path) -> None:
    """Apply the run's fitted transform to the data, and check that the shape of the examples is unchanged.

    The order of columns needs no check: the run's config names them.

    Raises:
        DataError: If examples have another shape.
    """
    if data.unused:
        names = ", ".join(data.unused[:20]) + (", …" if len(data.unused) > 20 else "")
        print_line(f"warning: {data.name} ignores columns that the run was not trained on: {names}")
    if not (folder / "encoder" / "config.json").is_file():
        return  # a cell of a comparison without pretraining has no encoder folder
    encoder = load_encoder(folder / "encoder")
    if encoder.in_shape != tuple(data.in_shape):
        raise DataError(
            f"{data.name} gives examples of shape {tuple(data.in_shape)}, but the run in {folder} was trained on "
            f"{encoder.in_shape}. Name data whose columns are as many and as wide as they were."
        )
    if not data.transform.is_fitted:
        data.transform = encoder.transform
