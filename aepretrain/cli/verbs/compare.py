"""``aepretrain compare``: pretrained against random initialization, over seeds and label budgets."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser

from aepretrain.cli.config import Parsed, build_parser, parse
from aepretrain.cli.import_allowlist import trusted_words
from aepretrain.cli.options import OWN
from aepretrain.cli.resolved import write_config
from aepretrain.cli.resume import changed_keys
from aepretrain.cli.terminal import print_comparison, print_data
from aepretrain.compare import Workers, compare
from aepretrain.compare.data_record import check_recorded, has_data
from aepretrain.compare.workers import signal_workers
from aepretrain.ensembles.train import Vectorize
from aepretrain.errors import ConfigError, DrawingStoppedError, OutOfMemoryError, StoppedError, UnwritableError
from aepretrain.runs.directory import (
    check_no_run,
    check_no_secret,
    command_line,
    holds_files,
    locked,
    log_to,
    record_command,
)
from aepretrain.storage.files import make_folder, sweep
from aepretrain.storage.guard import inside
from aepretrain.training.recovery.signals import remembering_signals, stop_at_signal, stop_if_asked

WORKERS = ("workers", "backend", "address")
FIXED = ("grid", "longer_by", "splits")
"""Settings of ``compare`` that determine the result of a cell; the others may change between runs."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parsed = parse(build_parser("compare", _add_own), arguments, own=("out", "vectorize", *WORKERS))
    with stop_at_signal("while the data were looked at"):
        for experiment in (parsed.experiment, *([parsed.control] if parsed.control else [])):
            stack = experiment.prepare()
            print_data(experiment, stack)
    own, words = parsed.arguments, [*arguments, *trusted_words()]
    workers = Workers(own.workers, own.backend, own.address)
    check_no_secret(own.out)
    out = Path(own.out)
    with _listening(workers):
        with locked(out), _name_resume_command(words):
            _prepare_directory(out, parsed)
            record_command(out, "compare", words)
            _run(parsed, workers, own.vectorize, out)
        stop_if_asked("when all was done: the comparison is finished")


def _listening(workers: Workers) -> contextlib.AbstractContextManager[None]:
    """Handle signals: local workers receive them too; with a cluster, only this process stops."""
    if workers.backend == "dask":
        return stop_at_signal()  # joblib waits for results without checking for signals
    if workers.backend == "ray":
        return remembering_signals(answer="leaving; the workers are ended and do not save")
    return remembering_signals(signal_workers)


@contextlib.contextmanager
def _name_resume_command(arguments: Sequence[str]) -> Iterator[None]:
    """Append the command that resumes the comparison to errors that interrupt it."""
    try:
        yield
    except DrawingStoppedError:
        raise
    except StoppedError as error:
        command = command_line("compare", arguments)
        raise StoppedError(f"{error} The same command goes on: {command}", error.signal) from error
    except UnwritableError as error:
        command = command_line("compare", arguments)
        raise UnwritableError(f"{error} Then the same command goes on: {command}") from error
    except OutOfMemoryError as error:
        if error.setting is None:
            raise
        command = command_line("compare", arguments)
        raise OutOfMemoryError(f"{error} Go on with: {command} {error.setting}", error.setting) from error


def _run(parsed: Parsed, workers: Workers, vectorize: Vectorize, out: Path) -> None:
    with log_to(out / "train.log"):
        compare(
            parsed.experiment,
            parsed.comparison,
            out,
            control=parsed.control,
            trials=parsed.trials,
            workers=workers,
            vectorize=vectorize,
            on_summary=lambda summary: print_comparison(summary, out),
        )


def _add_own(parser: ArgumentParser) -> None:
    types: dict[str, Any] = {
        "--out": str,
        "--workers": int,
        "--backend": Literal["local", "dask", "ray"],
        "--vectorize": Vectorize,
        "--address": str | None,
    }
    for option in OWN["compare"]:
        parser.add_argument(option.name, type=types[option.name], required=option.name == "--out", **option.keywords)


def _prepare_directory(out: Path, parsed: Parsed) -> None:
    """Create the directory, or check that it holds the same comparison; seeds and budgets may differ."""
    check_no_run(out)
    config, text = out / "config.yaml", parsed.yaml
    if config.is_file():
        changed = changed_keys(out, text, data_recorded=has_data(out))
        if changed := [key for key in changed if not _may_change(key)]:
            raise ConfigError(
                f"{out} holds a comparison with other settings: {', '.join(changed)} changed. Name a new --out."
            )
        check_recorded(out, (parsed.trials[0].experiment if parsed.trials else parsed.experiment).data)
    elif holds_files(out):
        raise ConfigError(f"{out} is not empty and holds no comparison. Name a new one by --out.")
    sweep(out)
    # The config is written first, so that an interrupted directory is recognized as that of a comparison.
    write_config(config, text)
    make_folder(inside(out, "runs"))


def _may_change(key: str) -> bool:
    """Whether finished cells stay valid when a setting changes."""
    group, *inner = key.replace("[", ".").split(".")
    return group in ("report", "loggers", "wandb") or (group == "compare" and inner[:1] != [] and inner[0] not in FIXED)
