"""Exceptions, each with the exit code of the command, and the line that an error is printed in."""

import unicodedata

LONGEST_LINE = 500
"""Maximum number of characters of an error line."""
COMMAND = ": aepretrain "
"""What stands before the command at the end of a message, and how that begins."""


class AEPretrainError(Exception):
    """Base class of errors reported to the user in one line; ``--debug`` adds the traceback."""

    exit_code = 1


class ConfigError(AEPretrainError, ValueError):
    """An invalid setting, option or combination of layers: exit code 2."""

    exit_code = 2


class DataError(AEPretrainError, ValueError):
    """Data that are missing, empty, of the wrong shape or out of range: exit code 3."""

    exit_code = 3


class DivergedError(AEPretrainError, ArithmeticError):
    """A loss that is NaN or infinite: exit code 4."""

    exit_code = 4


class StorageError(AEPretrainError, OSError):
    """A file of a run that is missing, damaged or cannot be written: exit code 5."""

    exit_code = 5


class UnwritableError(StorageError):
    """A file that the system refuses to write.

    Unless its folder is gone, earlier files are intact and the run can be resumed.
    """


class LostProcessError(AEPretrainError, RuntimeError):
    """Another process of the group has died, so this one cannot continue: exit code 1."""


class OutOfMemoryError(AEPretrainError, MemoryError):
    """Too little memory for a stage: exit code 1.

    Args:
        message: The error message: what ran out, and how to use less.
        setting: The option that reduces memory use; ``None`` if there is none.
    """

    def __init__(self, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class StoppedError(AEPretrainError):
    """A run stopped by a signal: exit code 128 + the signal.

    These are 129 for a closed terminal (SIGHUP), 130 for Ctrl-C and 143 for SIGTERM.

    Args:
        message: Where the run stopped.
        signal: Signal number.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal


class DrawingStoppedError(StoppedError):
    """A run or comparison that is finished and was asked to stop while its report was drawn."""


def one_line(text: str, most: int | None = LONGEST_LINE) -> str:
    r"""Text in one line of printable characters: others, such as those that steer a terminal, are escaped.

    Of a line that is too long the middle is left out, so that the way out at its end stays.

    Args:
        text: Any text.
        most: Maximum number of characters; ``None``: no limit.

    Example:
        >>> one_line("a\nb\x1b[31m")
        'a b\\x1b[31m'
        >>> one_line("x" * 30 + " Write it again.", most=24)
        'xxxxx …  Write it again.'
    """
    if most is not None and len(text) > 20 * most:  # nobody reads what lies between, which may be gigabytes
        text = f"{text[: 10 * most]} … {text[-10 * most :]}"
    line = printable(" ".join(text.split()))
    if most is None or len(line) <= most:
        return line
    _, found, command = line.rpartition(COMMAND)
    end = len(found + command) if found and len(command) < 0.8 * most else most * 2 // 3
    return f"{line[: most - end - 3]} … {line[len(line) - end :]}"


def printable(text: str) -> str:
    r"""Text in which characters that cannot be printed, such as those that steer a terminal, are escaped.

    Example:
        >>> printable("a  b\x1b[31m")
        'a  b\\x1b[31m'
    """
    fits = lambda each: each.isprintable() or unicodedata.category(each) == "Zs"  # noqa: E731 (other spaces)
    return "".join(each if fits(each) else each.encode("unicode_escape").decode() for each in text)
