"""``aepretrain evaluate``: a finished run measured again, from its files."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser

from aepretrain.cli.config import load_experiment
from aepretrain.cli.terminal import print_classifier
from aepretrain.errors import ConfigError
from aepretrain.runs.experiment import load_classifier, measure

DESCRIPTION = "Measure the classifier of a finished run again on validation and test data, from the run's files."


def run(arguments: Sequence[str]) -> None:
    """Run the verb with what follows it on the command line."""
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
    print_classifier(*measure(load_classifier(experiment, folder), experiment.data, experiment.seed))
