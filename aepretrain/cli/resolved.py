"""The resolved config: every setting with its value, and paths that are valid in any folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

from aepretrain.cli.class_changes import imported
from aepretrain.data.paths import absolute, path_settings, user_path
from aepretrain.storage.files import write_atomically
from aepretrain.tracking.redaction import redact_strings, redact_text


def resolved(parser: ArgumentParser, settings: Namespace, own: Sequence[str], settled: Mapping[str, Any]) -> str:
    """The config as YAML, accepted by ``fit --config`` in any folder. Its first lines tell relative paths as given.

    Args:
        parser: The parser of the settings.
        settings: The settings.
        own: Names of the verb's own arguments, which are left out.
        settled: Settings of the data that reading them settled, such as columns by name.
    """
    settings = settings.clone()
    for name in (*own, "config"):
        settings.pop(name, None)
    _name_data_folder(settings)
    _settle(settings, settled)
    given = _make_paths_absolute(settings)
    text = str(parser.dump(settings, skip_unset=False, skip_validation=True))
    values = yaml.safe_load(text)
    shown = redact_strings(values)
    text = text if shown == values else yaml.safe_dump(shown, sort_keys=False)
    return "".join(f"# {redact_text(line)}\n" for line in given) + text


def write_config(path: Path, text: str) -> None:
    """Write a resolved config, unless the file has the same settings already: it also tells paths as first given.

    Raises:
        StorageError: If it cannot be written.
    """
    if not path.is_file() or yaml.safe_load(path.read_text(encoding="utf-8")) != yaml.safe_load(text):
        write_atomically(path, text.encode())


def path_keys(config: str) -> set[str]:
    """The dotted keys of a resolved config whose values are paths of the data."""
    data = yaml.safe_load(config)["data"]
    return {f"data.init_args.{name}" for name in _path_settings(data["class_path"])}


def expand_data_paths(settings: Namespace) -> None:
    """Expand ``~`` in the paths of the data, in place."""
    arguments = settings.data.get("init_args") or Namespace()
    for name in _path_settings(settings.data.class_path):
        arguments[name] = _expanded(arguments.get(name))


def name_data_paths(settings: Namespace) -> str:
    """The options that name other paths of the data, as a sentence."""
    options = [f"--data.{name}" for name in _path_settings(settings.data.class_path)]
    return f"Name other paths by {', '.join(options)}." if options else "Check the paths that the source reads."


def _path_settings(class_path: str) -> list[str]:
    source = imported(class_path)
    return path_settings(source) if callable(source) else []


def _make_paths_absolute(settings: Namespace) -> list[str]:
    """Make the paths of the data absolute, in place; one line for each that was given otherwise."""
    arguments, given = settings.data.get("init_args") or Namespace(), []
    for name in _path_settings(settings.data.class_path):
        before = arguments.get(name)
        arguments[name] = absolute(before)
        if before is not None and arguments[name] != _plain(before):
            given.append(f"data.{name} was given as {_plain(before)} in {os.getcwd()}")
    return given


def _expanded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_expanded(each) for each in value]
    is_home = isinstance(value, str | os.PathLike) and Path(value).parts[:1] == ("~",)
    return type(value)(user_path(value)) if is_home else value


def _plain(value: Any) -> Any:
    return [str(each) for each in value] if isinstance(value, list | tuple) else str(value)


def _name_data_folder(settings: Namespace) -> None:
    """Write the folder from ``AEPRETRAIN_DATA`` into the resolved config, so that it needs no environment variable."""
    arguments = settings.data.get("init_args") or Namespace()
    if "root" in arguments and arguments.root is None and os.environ.get("AEPRETRAIN_DATA"):
        arguments.root = absolute(os.environ["AEPRETRAIN_DATA"])


def _settle(settings: Namespace, settled: Mapping[str, Any]) -> None:
    """Write what reading the data settled into the resolved config, so that other files are read in the same way."""
    arguments = settings.data.get("init_args") or Namespace()
    for name, value in settled.items():
        if name in arguments:
            arguments[name] = value
