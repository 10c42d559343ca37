"""Configs: YAML files and dotted arguments, parsed into an :class:`~aepretrain.runs.experiment.Experiment`."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning.pytorch import LightningDataModule

from aepretrain.cli.class_changes import check_order, files_first, start_named_classes_afresh
from aepretrain.cli.config_errors import explain, name_files, which_layer
from aepretrain.cli.config_keys import CALLBACK, FROM_THE_RUN, HEAD, LAYER, problems
from aepretrain.cli.import_allowlist import confine_imports
from aepretrain.cli.layer_defaults import take_layer_defaults, warm_start_of
from aepretrain.cli.named_files import CONFIGS, how_to_read, looks_like_file
from aepretrain.cli.numbered import replace_numbered
from aepretrain.cli.options import CONFIG, CONTROL, DESCRIPTIONS, SETTINGS
from aepretrain.cli.plain_yaml import load, use_plain_yaml
from aepretrain.cli.repeated_keys import repeated_keys
from aepretrain.cli.resolved import expand_data_paths, name_data_paths, resolved
from aepretrain.compare import Comparison, Trial
from aepretrain.data import DataModule
from aepretrain.data.lightning_data import as_source
from aepretrain.data.paths import absolute
from aepretrain.errors import AEPretrainError, ConfigError, DataError
from aepretrain.heads import Classifier, Head, Regressor
from aepretrain.runs.experiment import Experiment
from aepretrain.storage.guard import read_text
from aepretrain.storage.yaml_files import LARGEST, read_yaml
from aepretrain.tracking.options import LoggerName, Tracking, WandbOptions
from aepretrain.tracking.redaction import REDACTED, is_redacted
from aepretrain.training.options import FineTuning, OnNaN, Pretraining, Saving, TrainerOptions

FOR_CLASSES = {"label_smoothing": 0.0, "class_weights": None}
"""The options of a classifier that a regressor does not have, with their defaults."""


@dataclass(frozen=True)
class Parsed:
    """A parsed config.

    Args:
        experiment: The experiment.
        comparison: The comparison. Only ``compare`` uses ``comparison``, ``control`` and ``trials``.
        control: The control network as an experiment on the same data; ``None`` without a control.
        trials: The experiments for each combination of ``compare.grid``; empty without a grid.
        yaml: The resolved config: every setting with its value, accepted by ``fit --config``.
        arguments: The verb's own arguments, such as ``out``.
    """

    experiment: Experiment
    comparison: Comparison
    control: Experiment | None
    trials: Sequence[Trial]
    yaml: str
    arguments: Namespace


def build_parser(verb: str, add_own: Callable[[ArgumentParser], None] | None = None) -> ArgumentParser:
    """The parser of a verb that takes a config.

    Args:
        verb: The verb.
        add_own: Adds the verb's own arguments, which are not part of the config; ``None``: there are none.
    """
    confine_imports()
    start_named_classes_afresh()
    use_plain_yaml()
    prog, description = f"aepretrain {verb}", DESCRIPTIONS[verb]
    parser = ArgumentParser(prog=prog, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", **CONFIG.keywords)
    if add_own is not None:
        add_own(parser)
    parser.add_argument("--seed", type=int, **SETTINGS["seed"].keywords)
    parser.add_argument("--data", type=LightningDataModule, **SETTINGS["data"].keywords)
    _add_network(parser, "")
    parser.add_argument("--warm_start", type=str | None, **SETTINGS["warm_start"].keywords)
    parser.add_argument("--warm_start_layers", type=int | None, **SETTINGS["warm_start_layers"].keywords)
    parser.add_argument("--warm_start_sha256", type=str | None, **SETTINGS["warm_start_sha256"].keywords)
    parser.add_argument("--trainer", type=TrainerOptions, default=TrainerOptions())
    parser.add_argument("--checkpoint", type=Saving, default=Saving())
    parser.add_argument("--callbacks", type=list[CALLBACK], **SETTINGS["callbacks"].keywords)
    parser.add_argument("--on_nan", type=OnNaN, **SETTINGS["on_nan"].keywords)
    parser.add_argument("--compare", type=Comparison, default=Comparison())
    parser.add_argument("--report", type=bool, **SETTINGS["report"].keywords)
    parser.add_argument("--loggers", type=list[LoggerName], **SETTINGS["loggers"].keywords)
    parser.add_argument("--wandb", type=WandbOptions, default=WandbOptions())
    _add_network(parser, "control.")
    return parser


def _add_network(parser: ArgumentParser, prefix: str) -> None:
    """Add the settings of the network under test, or, with the prefix ``control.``, of the control network."""
    layers = CONTROL if prefix else SETTINGS["layers"]
    parser.add_argument(layers.name, type=list[LAYER], **layers.keywords)
    parser.add_argument(f"--{prefix}pretrain", type=Pretraining, default=Pretraining())
    parser.add_class_arguments(Classifier, f"{prefix}classifier", skip=set(FROM_THE_RUN), instantiate=False)
    parser.add_argument(f"--{prefix}head", type=HEAD | None, **SETTINGS["head"].keywords)
    parser.add_argument(f"--{prefix}finetune", type=FineTuning, default=FineTuning())


def parse(parser: ArgumentParser, arguments: Sequence[str], own: Sequence[str]) -> Parsed:
    """Read configs and arguments.

    Args:
        parser: From :func:`build_parser`.
        arguments: The arguments after the verb.
        own: Names of the verb's own arguments, which the resolved config omits.

    Raises:
        ConfigError: If a file cannot be read, or a key, a class or a value is not accepted.
        DataError: If a source cannot be built.
    """
    files = _config_files(arguments)
    given = arguments = files_first(arguments)
    try:
        arguments = replace_numbered(parser, arguments)
        settings = _parse(parser, arguments)
        _check_secrets(settings, files)
        _check_head(parser, settings)
        check_order(parser, arguments)
        expand_data_paths(settings)
        _identify_warm_start(settings)
        built = _build(parser, settings)
        take_layer_defaults(parser, given, settings, built)
        _name_modes(settings, built)
        text = resolved(parser, settings, own, built.data.settled())
        experiment = replace(_experiment(built, built), warm_start=warm_start_of(built))
        control = _experiment(built, built.control) if built.control.layers else None
        tracking = Tracking(built.loggers, built.wandb, yaml.safe_load(text))
        experiment = replace(experiment, tracking=tracking)
        control = control and replace(control, tracking=tracking)
    except ArgumentError as error:
        raise ConfigError(explain(error, files, arguments)) from error
    except AEPretrainError:
        raise
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise DataError(f"data: {error.filename}: {error.strerror}. {name_data_paths(settings)}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name_files(files)}{which_layer(settings.layers)}{error}") from error
    if not experiment.layers:
        raise ConfigError("there are no layers to train. Name a config, for example --config configs/digits.yaml.")
    trials = _trials(parser, arguments, given, built.compare) if built.compare.grid else ()
    return Parsed(experiment, built.compare, control, trials, text, settings)


def _check_secrets(settings: Namespace, files: Sequence[Path]) -> None:
    """Raise a ConfigError if a setting was redacted when its config was written."""
    for key, value in settings.items():
        if key != "config" and is_redacted(value):
            raise ConfigError(
                f"{name_files(files)}{key} holds {REDACTED} in the place of a secret, which no run stores. Give its "
                f"value again by --{key.replace('.init_args.', '.')}."
            )


def _check_head(parser: ArgumentParser, settings: Namespace) -> None:
    """Raise a ConfigError if options of the classifier are set, but another head is named."""
    defaults = parser.get_defaults()
    for prefix in ("", "control."):
        if settings[f"{prefix}head"] is None:
            continue
        for name, value in vars(settings[f"{prefix}classifier"]).items():
            if value != defaults[f"{prefix}classifier.{name}"]:
                raise ConfigError(
                    f"{prefix}classifier.{name} is set, but {prefix}head names a class that takes its place. Set "
                    f"{prefix}head.init_args.{name}, or leave {prefix}head out."
                )


def _identify_warm_start(settings: Namespace) -> None:
    """Make the path of a warm start absolute, and record the SHA-256 of its encoder, in place."""
    settings.warm_start = absolute(settings.warm_start)
    if (found := warm_start_of(settings)) is not None and found.sha256 is None:
        resumed = settings.get("resume")
        found = found.found_in(resumed and Path(resumed))
        settings.warm_start_sha256 = found.identify()


def _parse(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
    """Parse arguments; ReduceLROnPlateau takes the monitor's mode unless the user sets it."""
    settings = parser.parse_args(list(words))
    for prefix in ("", "control."):
        key = f"{prefix}classifier.scheduler"
        if str(getattr(settings[key], "class_path", "")).endswith(".ReduceLROnPlateau"):
            given = parser.parse_args(list(words), defaults=False).get(f"{key}.init_args") or {}
            if "mode" not in given:
                del settings[f"{key}.init_args.mode"]
    return settings


def _build(parser: ArgumentParser, settings: Namespace) -> Namespace:
    """The objects that settings describe; a LightningDataModule of the user's own becomes a source."""
    built = parser.instantiate(settings)
    built.data = as_source(built.data)
    return built


def _name_modes(settings: Namespace, built: Namespace) -> None:
    """Name the mode that a plateau takes by itself in the settings, for the resolved config."""
    head = Classifier if built.data.num_targets is None else Regressor
    for prefix, network in (("", built), ("control.", built.control)):
        key = f"{prefix}classifier.scheduler"
        is_plateau = str(getattr(settings[key], "class_path", "")).endswith(".ReduceLROnPlateau")
        if is_plateau and "mode" not in settings[f"{key}.init_args"]:
            mode = head.monitors.get(network.finetune.monitor, head.mode)
            settings[f"{key}.init_args"] = Namespace(mode=mode, **vars(settings[f"{key}.init_args"]))


def _experiment(built: Namespace, network: Namespace) -> Experiment:
    """The experiment of a network, with the data, devices and seed of the config."""
    return Experiment(
        network.layers,
        built.data,
        network.pretrain,
        _head(built.data, network),
        network.finetune,
        built.trainer,
        built.seed,
        callbacks=built.callbacks,
        report=built.report,
        checkpoint=built.checkpoint,
        on_nan=built.on_nan,
    )


def _head(data: DataModule, network: Namespace) -> Callable[..., Head]:
    """Makes the head that is named; else a classifier, or for real targets a regressor, with the options of both.

    Raises:
        ConfigError: If an option is for classes alone, but targets are real.
    """
    if network.head is not None:
        return network.head
    options = vars(network.classifier)
    if data.num_targets is None:
        return partial(Classifier, **options)
    for name, default in FOR_CLASSES.items():
        if options[name] != default:
            raise ConfigError(
                f"classifier.{name} is for classes, but {data.name} has a real target. Leave it out, or set "
                "data.target_type class."
            )
    return partial(Regressor, **{name: value for name, value in options.items() if name not in FOR_CLASSES})


def _trials(
    parser: ArgumentParser, arguments: Sequence[str], given: Sequence[str], comparison: Comparison
) -> list[Trial]:
    """The experiments for every combination of ``compare.grid``, each parsed as if given on the command line.

    Raises:
        ConfigError: If a setting of the grid does not exist, or a value is not accepted.
    """
    trials = []
    for settings in comparison.settings():
        # A class stands before its arguments, in whatever order the grid has them.
        words = [
            f"--{prefix}{key}={_word(value)}"
            for key, value in sorted(settings.items(), key=lambda setting: setting[0].count("."))
            for prefix in (("", "control.") if comparison.has_control else ("",))
        ]
        try:
            settings_of_trial = _parse(parser, [*arguments, *words])
            built = _build(parser, settings_of_trial)
            take_layer_defaults(parser, [*given, *words], settings_of_trial, built)
        except (ArgumentError, ValueError, TypeError) as error:
            message = explain(error, [], words) if isinstance(error, ArgumentError) else error
            raise ConfigError(f"compare.grid {settings}: {message}") from error
        control = _experiment(built, built.control) if built.control.layers else None
        trials.append(Trial(_experiment(built, built), control, settings))
    return trials


def _word(value: Any) -> str:
    """A value as an argument: the name of a class as it is, anything else as JSON."""
    return value if isinstance(value, str) and value.replace(".", "").isidentifier() else json.dumps(value)


def resolve(path: Path) -> str:
    """A config with every setting and its value, including settings added since the version that wrote it.

    Raises:
        ConfigError: If the config is not accepted.
    """
    parser = build_parser("fit")
    try:
        return resolved(parser, _parse(parser, ["--config", str(path)]), own=(), settled={})
    except ArgumentError as error:
        raise ConfigError(explain(error, [path], [])) from error


def load_experiment(path: Path, data: Mapping[str, Any] | None = None, places: Sequence[str] = ()) -> Experiment:
    """The experiment of a resolved config, such as ``config.yaml`` in a run directory.

    Args:
        path: The config.
        data: The setting ``data`` instead of that of the config; ``None``: that of the config.
        places: Options that name other places of the data.
    """
    if data is None:
        return parse(build_parser("fit"), ["--config", str(path), *places], own=()).experiment
    with tempfile.TemporaryDirectory() as folder:  # what the config has for data may be a class that is not trusted
        changed = Path(folder) / path.name
        settings = {name: value for name, value in read_yaml(path, "Run fit again.")[1].items() if name != "data"}
        changed.write_text(json.dumps(settings), encoding="utf-8")
        return parse(build_parser("fit"), ["--config", str(changed), "--data", json.dumps(data)], own=()).experiment


def _config_files(arguments: Sequence[str]) -> list[Path]:
    """The named config files, each read once to check its keys and class names."""
    named = [word.removeprefix("--config=") for word in arguments if word.startswith("--config=")]
    named += [value for word, value in pairwise(arguments) if word == "--config"]
    for name in named:
        try:
            text = read_text(Path(name), LARGEST)
            values, repeated = load(text), repeated_keys(text)
        except OSError as error:
            raise ConfigError(f"the config {name} cannot be read: {error.strerror}. Check the path.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = f"is no valid YAML: {' '.join(str(error).split())}."
            raise ConfigError(f"the config {name} {reason}{_if_data(name)}") from error
        if not isinstance(values, dict):
            reason = f"must hold keys and values, but holds {'text' if isinstance(values, str) else repr(values)[:40]}."
            raise ConfigError(f"the config {name} {reason}{_if_data(name)}")
        for problem in (*repeated, *problems(values)):
            raise ConfigError(f"{name}: {problem}")
    _check_values(arguments)
    return [Path(name) for name in named]


def _if_data(name: str) -> str:
    """How to name data that are named as a config, as a sentence that begins with a space."""
    return "" if name.endswith(CONFIGS) or not looks_like_file(name) else f" If it is data: {how_to_read(name)}"


def _check_values(arguments: Sequence[str]) -> None:
    """Raise a ConfigError where a key stands twice in a value in braces, or in a further YAML file that one names."""
    for word, following in pairwise([*arguments, ""]):
        value = word.split("=", 1)[1] if word.startswith("--") and "=" in word else following
        if not word.startswith("--") or not value.endswith((".yaml", ".yml", ".json", "}", "]")):
            continue
        option, path = word.split("=")[0], Path(value)
        with contextlib.suppress(yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError):
            for problem in repeated_keys(read_text(path, LARGEST) if path.suffix[1:].isalpha() else value):
                raise ConfigError(f"{option} {value}: {problem}")
