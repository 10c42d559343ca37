"""``aepretrain compare``: pretrained against random initialization, over seeds and label budgets."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser

from aepretrain.cli.config import Parsed, build_parser, parse
from aepretrain.cli.resume import changed_keys
from aepretrain.cli.terminal import print_comparison
from aepretrain.compare import Workers, compare
from aepretrain.compare.workers import tell_workers
from aepretrain.console import print_line
from aepretrain.ensembles.train import Vectorize
from aepretrain.errors import ConfigError, OutOfMemoryError, StoppedError, UnwritableError
from aepretrain.runs.directory import holds_files, locked, log_to, record_command, without_secrets
from aepretrain.storage.files import make_folder, write_whole
from aepretrain.training.recovery.signals import leaving_at_once, listening

DESCRIPTION = """\
Does pretraining help on these data, by how much, at how many labels? Runs arms x seeds x label budgets that share all
but the encoder's weights, beside baselines on the raw input. The same command goes on where a comparison stopped; more
seeds or budgets run by themselves.
"""


WORKERS = ("workers", "backend", "address")
FIXED = ("grid", "longer_by")
"""What of ``compare`` decides the result of a cell: the rest may grow."""


def run(arguments: Sequence[str]) -> None:
    """Run the verb with what follows it on the command line."""
    parsed = parse(build_parser("compare", DESCRIPTION, _add_own), arguments, own=("out", "vectorize", *WORKERS))
    for experiment in (parsed.experiment, *([parsed.control] if parsed.control else [])):
        stack = experiment.prepare()
        for warning in stack.warnings():
            print_line(f"warning: {warning}")
    own = parsed.arguments
    workers = Workers(own.workers, own.backend, own.address)
    out = Path(own.out)
    with locked(out), _listening(workers), _telling_how_to_go_on(arguments):
        _take_directory(out, parsed.yaml)
        record_command(out, "compare", arguments)
        _run(parsed, workers, own.vectorize, out)


def _listening(workers: Workers) -> contextlib.AbstractContextManager[None]:
    """Remember signals and pass them on to workers; those of a cluster have other masters, and this process leaves."""
    if workers.backend == "dask":
        return leaving_at_once()  # joblib waits for answers without a look at signals
    if workers.backend == "ray":
        return listening(answer="leaving; the workers are ended and do not save")
    return listening(tell_workers)


@contextlib.contextmanager
def _telling_how_to_go_on(arguments: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except StoppedError as error:
        command = shlex.join(without_secrets(["aepretrain", "compare", *arguments]))
        raise StoppedError(f"{error} The same command goes on: {command}", error.signal) from error
    except UnwritableError as error:
        command = shlex.join(without_secrets(["aepretrain", "compare", *arguments]))
        raise UnwritableError(f"{error} Then the same command goes on: {command}") from error
    except OutOfMemoryError as error:
        if error.setting is None:
            raise
        command = shlex.join(without_secrets(["aepretrain", "compare", *arguments]))
        raise OutOfMemoryError(f"{error} Go on with: {command} {error.setting}", error.setting) from error


def _run(parsed: Parsed, workers: Workers, vectorize: Vectorize, out: Path) -> None:
    with log_to(out / "train.log"):
        summary = compare(
            parsed.experiment,
            parsed.comparison,
            out,
            control=parsed.control,
            trials=parsed.trials,
            workers=workers,
            vectorize=vectorize,
        )
        print_comparison(summary, out)


def _add_own(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=str, required=True, help="directory of the comparison; named again, it goes on")
    parser.add_argument("--workers", type=int, default=1, help="cells that run side by side on this machine")
    parser.add_argument(
        "--backend",
        type=Literal["local", "dask", "ray"],
        default="local",
        help="dask or ray (extras) where one machine is not enough; the workers share the storage of --out",
    )
    parser.add_argument(
        "--vectorize",
        type=Vectorize,
        default="off",
        help="train all seeds at once, as one batched model with each seed's own weights, order and noise: where "
        "it is possible and faster (auto), always (on), or never (off); results agree within rounding; one worker",
    )
    parser.add_argument("--address", type=str | None, default=None, help="of the Dask scheduler or the Ray cluster")


def _take_directory(out: Path, text: str) -> None:
    """Make the directory, or see that what it holds belongs to the same comparison, whatever seeds and budgets."""
    config = out / "config.yaml"
    if config.is_file():
        if changed := [key for key in changed_keys(out, text) if not _may_change(key)]:
            raise ConfigError(
                f"{out} holds a comparison with other settings: {', '.join(changed)} changed. Name a new --out."
            )
    elif holds_files(out):
        raise ConfigError(f"{out} is not empty and holds no comparison. Name a new one by --out.")
    # First, so that a directory whose making was interrupted is known as that of a comparison.
    write_whole(config, text.encode())
    make_folder(out / "runs")


def _may_change(key: str) -> bool:
    """Whether cells that were run before stay what they are when a setting changes."""
    group, *inner = key.replace("[", ".").split(".")
    return group in ("report", "loggers", "wandb") or (group == "compare" and inner[:1] != [] and inner[0] not in FIXED)
