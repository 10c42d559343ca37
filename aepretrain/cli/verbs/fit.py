"""``aepretrain fit``: train a config into a run directory, or resume a run."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from aepretrain.cli.config import Parsed, build_parser, parse
from aepretrain.cli.import_allowlist import trusted_words
from aepretrain.cli.options import OWN
from aepretrain.cli.resolved import write_config
from aepretrain.cli.resume import EPOCHS, RESUME, changed_keys, resumed_arguments
from aepretrain.cli.terminal import print_data, print_results
from aepretrain.console import print_line
from aepretrain.errors import (
    ConfigError,
    DrawingStoppedError,
    LostProcessError,
    OutOfMemoryError,
    StoppedError,
    UnwritableError,
)
from aepretrain.pretraining.stack import GreedyStack
from aepretrain.processes import is_first_process, is_lost_process, leave_process_group
from aepretrain.runs.directory import choose_run_directory, command_line, locked, log_to, record_command
from aepretrain.runs.more_epochs import check_extendable, reopen
from aepretrain.storage.files import probe, sweep
from aepretrain.training.recovery.checkpoints import disk_for_training
from aepretrain.training.recovery.run_data import record_or_check_data
from aepretrain.training.recovery.run_state import RunState
from aepretrain.training.recovery.signals import remembering_signals, stop_at_signal, stop_if_asked


def run(arguments: Sequence[str]) -> None:
    """Run the verb with the arguments after it."""
    parser = build_parser("fit", _add_own)
    parsed = parse(parser, resumed_arguments(arguments), own=("out", RESUME, "more_epochs"))
    with remembering_signals():
        if parsed.arguments.resume is None:
            _start(parsed, arguments)
        else:
            _resume(parsed, Path(parsed.arguments.resume), arguments)
        stop_if_asked("when all was done: the run is finished")
    leave_process_group()


def _start(parsed: Parsed, arguments: Sequence[str]) -> None:
    configs = parsed.arguments.config or []
    name = Path(str(configs[-1])).stem if configs else parsed.experiment.data.name.lower()
    stack = _prepare(parsed)
    out = choose_run_directory(parsed.arguments.out, name)
    with locked(out):
        if is_first_process():
            sweep(out)
            probe(out, _disk_needed(parsed, stack))
            write_config(out / "config.yaml", parsed.yaml)
        record_command(out, "fit", [*arguments, *trusted_words()])
        _train(parsed, stack, out, resume=False)


def _resume(parsed: Parsed, out: Path, arguments: Sequence[str]) -> None:
    """Resume a run from its last checkpoint.

    Raises:
        ConfigError: If the config changed, another process uses the directory, or epochs cannot be added.
        DataError: If the data changed.
    """
    more, trainer = parsed.arguments.more_epochs and int(parsed.arguments.more_epochs), parsed.experiment.trainer
    if more and (trainer.devices not in (1, "1") or trainer.num_nodes != 1):
        # Processes that start at different times would read different numbers of epochs from the config.
        raise ConfigError(
            f"--more-epochs is for runs of one process, but trainer.devices is {trainer.devices} and trainer.num_nodes "
            f"{trainer.num_nodes}. Begin a new run with more finetune.epochs."
        )
    changed = changed_keys(out, parsed.yaml, data_recorded=RunState(out).data is not None)
    if changed := [key for key in changed if not (more and key == EPOCHS)]:
        raise ConfigError(
            f"{out} was started with other settings: {', '.join(changed)} changed. Leave them out to go on, or start "
            "a new run by --out."
        )
    with locked(out):
        stage = ""
        if more:
            stage = check_extendable(out, parsed.experiment.finetune.epochs - more, more)
        elif RunState(out).status == "finished":
            print_line(f"{out} is finished: there is nothing left to do. Its results are in {out / 'results.json'}")
            return
        stack = _prepare(parsed, resumed=out)
        record_or_check_data(out, parsed.experiment.data, resume=True)
        if is_first_process():
            stale = sweep(out)
            probe(out, _disk_needed(parsed, stack))
            if more:
                reopen(
                    out, stage
                )  # before the config: after a kill in between, --resume ends with the epochs of before
            # Changed settings are kept for later resumes that do not repeat them.
            write_config(out / "config.yaml", parsed.yaml)
            if stale:
                print_line(f"removed what was half written: {', '.join(path.name for path in stale)}")
        record_command(out, "fit", [*arguments, *trusted_words()])
        _train(parsed, stack, out, resume=True)


def _prepare(parsed: Parsed, *, resumed: Path | None = None) -> GreedyStack:
    """Build everything and look at the data; a signal leaves at once, because nothing has to be saved yet."""
    with stop_at_signal("while the data were looked at"):
        return parsed.experiment.prepare(resumed)


def _disk_needed(parsed: Parsed, stack: GreedyStack) -> int:
    """Disk space of a run, in bytes: checkpoints, weights, and codes that do not fit the memory budget."""
    experiment = parsed.experiment
    return disk_for_training(stack) + stack.disk_for_codes(experiment.data, experiment.pretrain, experiment.seed)


def _train(parsed: Parsed, stack: GreedyStack, out: Path, *, resume: bool) -> None:
    with log_to(out / "train.log"), _name_resume_command(out):
        print_data(parsed.experiment, stack)
        print_line(f"run directory {out}{', resumed' if resume else ''}")
        parsed.experiment.run(out, stack, resume=resume, on_results=lambda results: print_results(results, out))


@contextlib.contextmanager
def _name_resume_command(out: Path) -> Iterator[None]:
    """Append the command that resumes the run to errors that interrupt it."""
    command = command_line("fit", ["--resume", str(out.absolute()), *trusted_words()])
    try:
        yield
    except DrawingStoppedError:
        raise
    except StoppedError as error:
        raise StoppedError(f"{error} Go on with: {command}", error.signal) from error
    except OutOfMemoryError as error:
        setting = "" if error.setting is None else f" {error.setting}"
        raise OutOfMemoryError(f"{error} Go on with: {command}{setting}", error.setting) from error
    except UnwritableError as error:
        raise UnwritableError(f"{error} Then go on with: {command}") from error
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        raise LostProcessError(
            "another process of this run is gone, so this one leaves too; if it told why, that stands above. "
            f"Finished stages and checkpoints are intact. Go on with: {command}"
        ) from error


def _add_own(parser: ArgumentParser) -> None:
    for option in OWN["fit"]:
        parser.add_argument(option.name, type=str, **option.keywords)
