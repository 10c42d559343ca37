"""Configs: YAML files and dotted arguments to an :class:`~aepretrain.experiment.Experiment`, and back."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from aepretrain.classifier import Classifier
from aepretrain.compare import Comparison
from aepretrain.config_errors import FROM_THE_RUN, LAYER, explain, name_files, problems, which_layer
from aepretrain.data import DataModule
from aepretrain.errors import AEPretrainError, ConfigError
from aepretrain.experiment import Experiment
from aepretrain.tracking.options import LoggerName, Tracking, WandbOptions
from aepretrain.training.options import FineTuning, Pretraining, TrainerOptions


@dataclass(frozen=True)
class Parsed:
    """A config that was read.

    Args:
        experiment: What to run.
        comparison: What to compare; only ``compare`` looks at it.
        yaml: The resolved config: every setting with its value. ``fit --config`` takes it back.
        arguments: The verb's own arguments, such as ``out``.
    """

    experiment: Experiment
    comparison: Comparison
    yaml: str
    arguments: Namespace


def build_parser(verb: str, description: str, add_own: Callable[[ArgumentParser], None]) -> ArgumentParser:
    """The parser of a verb that takes a config.

    Args:
        verb: The verb.
        description: What ``--help`` says first.
        add_own: Adds the verb's own arguments, which are no part of the config.
    """
    parser = ArgumentParser(prog=f"aepretrain {verb}", description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file; later files override earlier ones")
    add_own(parser)
    parser.add_argument("--seed", type=int, default=0, help="of initial weights, batch order, noise, labelled subset")
    parser.add_argument("--data", type=DataModule, default={"class_path": "Digits"}, help="the data set")
    parser.add_argument(
        "--layers",
        type=list[LAYER],
        default=[],
        help="one autoencoder per layer, from the input up: a list of class_path and init_args, best in a file",
    )
    parser.add_argument("--pretrain", type=Pretraining, default=Pretraining())
    parser.add_class_arguments(Classifier, "classifier", skip=set(FROM_THE_RUN), instantiate=False)
    parser.add_argument("--finetune", type=FineTuning, default=FineTuning())
    parser.add_argument("--trainer", type=TrainerOptions, default=TrainerOptions())
    parser.add_argument("--compare", type=Comparison, default=Comparison())
    parser.add_argument(
        "--loggers",
        type=list[LoggerName],
        default=list(Tracking.loggers),
        help="what follows a run beside metrics.jsonl; [] is nothing",
    )
    parser.add_argument("--wandb", type=WandbOptions, default=WandbOptions())
    return parser


def parse(parser: ArgumentParser, arguments: Sequence[str], own: Sequence[str]) -> Parsed:
    """Read configs and arguments.

    Args:
        parser: From :func:`build_parser`.
        arguments: What follows the verb.
        own: Names of the verb's own arguments, which the resolved config leaves out.

    Raises:
        ConfigError: If a file cannot be read, or a key, a class or a value is not accepted.
    """
    files = _config_files(arguments)
    try:
        settings = parser.parse_args(list(arguments))
        resolved = settings.clone()
        for name in (*own, "config"):
            resolved.pop(name, None)
        _name_data_folder(resolved)
        text = parser.dump(resolved, skip_unset=False, skip_validation=True)
        built = parser.instantiate(settings)
        factory = partial(Classifier, **vars(built.classifier))
        experiment = Experiment(
            built.layers, built.data, built.pretrain, factory, built.finetune, built.trainer, built.seed
        )
        experiment = replace(experiment, tracking=Tracking(built.loggers, built.wandb, yaml.safe_load(text)))
    except ArgumentError as error:
        raise ConfigError(explain(error, files, arguments)) from error
    except AEPretrainError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name_files(files)}{which_layer(settings.layers)}{error}") from error
    if not experiment.layers:
        raise ConfigError("there are no layers to train. Name a config, for example --config configs/digits.yaml.")
    return Parsed(experiment, built.compare, text, settings)


def load_experiment(path: Path) -> Experiment:
    """The experiment of a resolved config, such as ``config.yaml`` in a run directory."""
    return parse(build_parser("fit", "", lambda parser: None), ["--config", str(path)], own=()).experiment


def _name_data_folder(settings: Namespace) -> None:
    """Write the folder that ``AEPRETRAIN_DATA`` names into the resolved config, which then needs no environment."""
    arguments = settings.data.get("init_args") or Namespace()
    if "root" in arguments and arguments.root is None and os.environ.get("AEPRETRAIN_DATA"):
        arguments.root = str(Path(os.environ["AEPRETRAIN_DATA"]).absolute())


def _config_files(arguments: Sequence[str]) -> list[Path]:
    """The config files that are named, each read once to check its keys and the names of its classes."""
    named = [word.removeprefix("--config=") for word in arguments if word.startswith("--config=")]
    named += [value for word, value in pairwise(arguments) if word == "--config"]
    for name in named:
        try:
            values = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"the config {name} cannot be read: {error.strerror}. Check the path.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"the config {name} is no valid YAML: {' '.join(str(error).split())}.") from error
        if not isinstance(values, dict):
            raise ConfigError(f"the config {name} must hold keys and values, but holds {type(values).__name__}.")
        for problem in problems(values):
            raise ConfigError(f"{name}: {problem}")
    return [Path(name) for name in named]
