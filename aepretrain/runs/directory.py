"""The run directory: one per run, chosen once, locked, and written only by the first process."""

import contextlib
import json
import logging
import os
import shlex
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from filelock import FileLock, Timeout

from aepretrain.console import console
from aepretrain.errors import ConfigError, StorageError
from aepretrain.processes import is_first_process
from aepretrain.results.stage import StageRecord, StepMode
from aepretrain.storage.files import PART, PROBE, append_atomically, make_folder, storing, write_atomically
from aepretrain.storage.guard import inside
from aepretrain.storage.json_files import read_json
from aepretrain.tracking.redaction import redact_text, redact_words
from aepretrain.training.recovery.run_state import METRICS, RunState

# Processes launched by the first one read the directory here, since their own time stamps would differ.
VARIABLE = "AEPRETRAIN_RUN_DIR"
RESULTS = "results.json"
CONFIG = "config.yaml"
STEPS = "# {stage} took {mode} steps\n"
LOCK, OWNER = ".lock", ".lock-owner.json"
LOCK_PROBE = ".filelock-probe"
"""What filelock makes for a moment to see what the disk can do."""


def choose_run_directory(out: str | None, name: str) -> Path:
    """Choose and create the directory of a new run.

    Args:
        out: The requested directory; ``None``: a new one below ``runs``.
        name: Prefix of the name of a new directory.

    Raises:
        ConfigError: If the directory is not empty or in use, its name holds a secret, or
            several processes share it and ``out`` is not set.
        StorageError: If it cannot be created or written.
    """
    check_no_secret(out)
    if not is_first_process():
        if VARIABLE not in os.environ and out is None:
            raise ConfigError("several processes need to agree on the run directory: name it by --out.")
        return Path(out or os.environ[VARIABLE])
    processes = os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))
    if out is None and (int(processes) > 1 or "NODE_RANK" in os.environ):
        raise ConfigError("several processes need to agree on the run directory: name it by --out.")
    folder = Path(out) if out else Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    _check_unlocked(folder)
    if holds_files(folder):
        raise ConfigError(f"{folder} is not empty, and a run never overwrites another. Name a new one by --out.")
    make_folder(folder)
    make_folder(inside(folder, "stages"))
    append_atomically(folder / METRICS, b"")
    os.environ[VARIABLE] = str(folder)
    return folder


def check_no_secret(out: str | None) -> None:
    """Raise a ConfigError if a path holds a secret: it stands in logs and reports, and the links of W&B."""
    if out is not None and (shown := redact_text(out)) != out:
        raise ConfigError(
            f"--out names a directory with what looks like a secret, {shown}, which logs and reports would hold. Name "
            "one without."
        )


def record_command(folder: Path, verb: str, arguments: Sequence[str]) -> None:
    """Append the current command and its folder to ``commands.txt``, from the first process only.

    Args:
        folder: The run directory.
        verb: The verb.
        arguments: The arguments after it, whose paths are relative to the current folder.

    Raises:
        StorageError: If the file cannot be written.
    """
    if is_first_process():
        place = shlex.join(redact_words(["cd", os.getcwd()]))
        append_atomically(folder / "commands.txt", f"{place} && {command_line(verb, arguments)}\n".encode())


def note_steps(folder: Path, records: Sequence[StageRecord]) -> None:
    """Tell in the last lines of ``config.yaml`` how the steps of stages were taken; without the file, do nothing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.yaml").write_text("seed: 0")
        >>> row = {"val/loss": 1.0}
        >>> note_steps(folder, [StageRecord("00-plain", 1, 0, 5, 0.1, [row], "cpu", 1, step_mode="recorded")])
        >>> (folder / "config.yaml").read_text().splitlines()
        ['seed: 0', '# 00-plain took recorded steps']
    """
    path = folder / CONFIG
    if not is_first_process() or not path.is_file():
        return
    text = before = path.read_text(encoding="utf-8")
    for record in records:
        notes = [STEPS.format(stage=record.stage, mode=mode) for mode in get_args(StepMode)]
        text = "".join(line for line in text.splitlines(keepends=True) if line not in notes)
        if record.step_mode is not None:
            text += "" if text.endswith("\n") else "\n"
            text += STEPS.format(stage=record.stage, mode=record.step_mode)
    if text != before:
        write_atomically(path, text.encode())


def command_line(verb: str, arguments: Sequence[str]) -> str:
    """A command as a line for a shell, with secrets redacted.

    Example:
        >>> command_line("fit", ["--out", "a run", "--hub.token", "abc"])
        "aepretrain fit --out 'a run' --hub.token '(redacted)'"
    """
    return shlex.join(redact_words(["aepretrain", verb, *arguments]))


def holds_files(folder: Path) -> bool:
    """Whether a directory holds more than a lock and the empty or partial files that a killed run may leave."""
    return folder.is_dir() and any(not _is_bare(path) for path in folder.iterdir())


def check_no_comparison(folder: Path, way_out: str) -> None:
    """Raise a ConfigError if a directory that should hold a run holds a comparison; the message ends with a way out."""
    if (folder / "runs").is_dir():
        raise ConfigError(f"{folder} holds a comparison, whose runs are in {folder / 'runs'}. {way_out}")


def check_no_run(folder: Path) -> None:
    """Raise a ConfigError if a directory for a comparison holds a run of ``fit``."""
    if (folder / "stages").is_dir():
        raise ConfigError(f"{folder} holds a run of fit, with which a comparison would mix. Name a new one by --out.")


def check_unused(folder: Path) -> None:
    """See that no run left stages, metrics or results in a directory, with which another one would mix.

    Raises:
        ConfigError: If one did; the first process alone looks.
    """
    RunState(folder).check_unused(".*")
    used = [name for name in (METRICS, RESULTS) if is_first_process() and (folder / name).is_file()]
    if any((folder / name).stat().st_size for name in used):
        raise ConfigError(
            f"{folder} holds {' and '.join(used)} of a run already, and a run never mixes with another. Name a new "
            "directory, or give resume=True to go on with that run."
        )


def _is_bare(path: Path) -> bool:
    """Whether a path of a run directory holds no data: a lock, a partial file, empty metrics or an empty folder."""
    if path.name in ("stages", "runs"):
        return path.is_dir() and not any(path.iterdir())
    if path.name == METRICS:
        return path.is_file() and path.stat().st_size == 0
    return path.name in (LOCK, OWNER, PROBE) or path.name.endswith(PART) or path.name.startswith(LOCK_PROBE)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run directory for the duration of the block. The lock of a killed run does not block others.

    Raises:
        ConfigError: If another run holds the lock; the message names its process and machine.
        StorageError: If the lock cannot be written.
    """
    if not is_first_process():
        yield
        return
    make_folder(folder)
    lock = FileLock(inside(folder, LOCK), blocking=False)
    with storing(folder / LOCK, 0):
        try:
            lock.acquire()
        except Timeout as error:  # an OSError, but not a disk failure
            raise ConfigError(_held(folder)) from error
    try:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        write_atomically(folder / OWNER, json.dumps(owner).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)


def _held(folder: Path) -> str:
    try:
        owner = read_json(folder / OWNER)
        first = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (OSError, TypeError, KeyError):
        first = "another process"
    return f"{folder} is in use by {first}. Wait for it, stop it, or name another directory."


def _check_unlocked(folder: Path) -> None:
    """Raise a ConfigError that names the owner if another run is using the directory."""
    if (folder / OWNER).is_file():
        with locked(folder):
            pass


class LogFile(logging.Handler):
    """Handler that appends log messages to a file. Lines that cannot be written are dropped, with a single warning.

    The log duplicates the terminal output, so a failure here does not end the run; only failures in essential files do.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._said = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            append_atomically(self.path, (redact_text(self.format(record)) + "\n").encode())
        except StorageError as error:
            if not self._said:
                self._said = True
                console.print(f"warning: {error} The run goes on, and lines are missing there.", markup=False)


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Write the package's log messages, including those per epoch, to a file, from the first process only."""
    if not is_first_process():
        yield
        return
    log = logging.getLogger("aepretrain")
    handler = LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
        handler.close()
