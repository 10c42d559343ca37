"""The command ``aepretrain``: runs a verb, and reports an error in one line with an exit code.

torch is imported by the verbs, not here, so that ``aepretrain --help`` is fast.
"""

import atexit
import errno
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Sequence

from aepretrain import __version__
from aepretrain.cli.streams import outlive_readers
from aepretrain.errors import AEPretrainError, ConfigError, StoppedError, StorageError, one_line
from aepretrain.loading import load
from aepretrain.stopping import answering, ignore_signals, leave_at_once, take_signals

VERBS = {
    "init": "look at a file or folder and write a first config, with comments",
    "fit": "pretrain greedily, attach the head, fine-tune, test; writes a run directory",
    "compare": "pretrained against random initialization, over seeds and label budgets",
    "validate": "check a config and its data and print the plan; trains nothing",
    "evaluate": "measure a finished run again, from its files",
    "encode": "codes of any rows to a file, from the encoder of a finished run",
    "predict": "classes or values of any rows to a file, from a finished run",
    "sample": "new items, reconstructions and ways between rows, from a finished run",
    "export": "the encoder or classifier of a finished run as ONNX, torch.export or safetensors",
    "list": "the layers, data sources and configs that there are",
    "completion": "a script by which bash, zsh or fish complete verbs and options",
    "report": "pictures and the single-file HTML report again, from the files of a run or comparison",
}

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

HELP = f"""\
usage: aepretrain VERB [--config FILE ...] [--dotted.key VALUE ...]
Greedy layer-wise pretraining with autoencoders. Verbs:
{chr(10).join(f"  {name:<12}{text}" for name, text in VERBS.items())}

examples:
  aepretrain init --data birds.csv --target species --out birds.yaml
  aepretrain fit --config configs/digits.yaml --out runs/digits
  aepretrain compare --config configs/compare-digits.yaml --out runs/compare

options:
  -h, --help  this page; after a verb, its settings; --help-all: all of them
  --version, --debug, --trust-module PKG  version; tracebacks; configs may name classes of PKG
exit: 0 done, 1 crash, 2 config, 3 data, 4 diverged, 5 storage, 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The arguments after ``aepretrain``; ``None`` reads the command line.

    Returns:
        The exit code.

    Example:
        >>> main(["--version"])
        aepretrain 0.1.0
        0
    """
    if arguments is None:  # a program of its own, until its very end
        take_signals(leave_at_once)
        atexit.register(ignore_signals)  # the first to be registered is the last to be called
        outlive_readers()
        return _run(sys.argv[1:], is_program=True)
    with answering(leave_at_once):
        return _run(arguments)


def _run(arguments: Sequence[str], *, is_program: bool = False) -> int:
    words = list(arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    # Otherwise every line that cannot be logged, such as by W&B on a full disk, prints a traceback.
    logging.raiseExceptions = debug
    words, trusted = _take_values(map(_expand_home, words), "--trust-module")
    if not words:
        print(HELP, end="", file=sys.stderr)
        return ConfigError.exit_code
    if words[0] in ("-h", "--help", "--help-all"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        print(f"aepretrain {__version__}")
        return 0
    if words[0] in VERBS and {"-h", "--help"} & {*words[1:]}:
        from aepretrain.cli.short_help import short_help

        print(short_help(words[0]), end="")
        return 0
    words = ["--help" if word == "--help-all" else word for word in words]
    try:
        from aepretrain.cli.import_allowlist import trust

        trust(trusted)
        run_verb(words[0], words[1:], is_program=is_program)
    except StoppedError as error:
        return _report_stop(error)
    except AEPretrainError as error:
        return _fail(error, error.exit_code, debug)
    except OSError as error:
        return _fail(error, 1, debug) if error.errno not in DISK_ERRORS else _fail(_disk_error(error), 5, debug)
    except Exception as error:
        return _fail(error, 1, debug)
    return 0


def _expand_home(word: str) -> str:
    """A word with ``~`` expanded, as a shell does where it is not quoted; also the value in ``--out=~/x``."""
    option, is_given, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{is_given}{os.path.expanduser(value) if value.split('/')[0] == '~' else value}"


def _take_values(words: Iterable[str], option: str) -> tuple[list[str], list[str]]:
    """The words without an option that may occur anywhere, and the values of the option."""
    rest, values, pending = [], [], False
    for word in words:
        if pending or word.startswith(f"{option}="):
            values.append(word.removeprefix(f"{option}="))
            pending = False
        elif word == option:
            pending = True
        else:
            rest.append(word)
    return rest, [*values, *([""] if pending else [])]


def run_verb(verb: str, arguments: Sequence[str], *, is_program: bool = False) -> None:
    """Load and run one verb.

    Args:
        verb: One of ``VERBS``.
        arguments: The words after it.
        is_program: Whether nothing else runs in this process.

    Raises:
        ConfigError: If there is no such verb.
    """
    if verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"Verbs are {', '.join(VERBS)}."
        raise ConfigError(f"{verb!r} is not a verb of aepretrain. {hint}")
    # Users of the command cannot fix deprecations inside torch and Lightning.
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module="torch|lightning")
    module = (load if is_program else importlib.import_module)(f"aepretrain.cli.verbs.{verb}")
    module.run(list(arguments))


def _disk_error(error: OSError) -> StorageError:
    """A disk error that no file operation has reported yet: the disk is full, damaged or write-protected."""
    place = f"{error.filename}: " if error.filename else ""
    return StorageError(
        f"{place}{error.strerror}. Make room, or look after the disk, and run it again; what was written before is "
        "intact."
    )


def _report_stop(error: StoppedError) -> int:
    from aepretrain.processes import is_first_process

    if is_first_process():
        print(one_line(f"aepretrain: {error}", most=None), file=sys.stderr)
    return error.exit_code


def _fail(error: Exception, exit_code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    name = "" if isinstance(error, AEPretrainError) else f"{type(error).__name__}: "
    hint = "" if debug or isinstance(error, AEPretrainError) else " (--debug shows the traceback)"
    print(one_line(f"aepretrain: error: {name}{error}{hint}"), file=sys.stderr)
    return exit_code
