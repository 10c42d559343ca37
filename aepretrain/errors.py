"""What can go wrong, each with the exit code that the command leaves with."""


class AEPretrainError(Exception):
    """An error that is told to the user in one line; the traceback shows only with ``--debug``."""

    exit_code = 1


class ConfigError(AEPretrainError, ValueError):
    """A setting, an option or a combination of layers that cannot work: exit code 2."""

    exit_code = 2


class DataError(AEPretrainError, ValueError):
    """Data that are missing, empty, of the wrong shape or outside their range: exit code 3."""

    exit_code = 3


class DivergedError(AEPretrainError, ArithmeticError):
    """A loss that is no longer finite: exit code 4."""

    exit_code = 4


class StorageError(AEPretrainError, OSError):
    """A file of a run that is missing, damaged or cannot be written: exit code 5."""

    exit_code = 5


class UnwritableError(StorageError):
    """A file that the system refuses to write; what was written before is intact, so that a run can go on later."""


class LostProcessError(AEPretrainError, RuntimeError):
    """Another of several processes is gone, so this one cannot go on: exit code 1."""


class OutOfMemoryError(AEPretrainError, MemoryError):
    """A stage for which there was too little memory: exit code 1.

    Args:
        message: What ran out, and what would need less.
        setting: The option that would need less; ``None`` if there is none.
    """

    def __init__(self, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class StoppedError(AEPretrainError):
    """A run that was asked to stop, and did: exit code 128 + the signal.

    These are 129 for a closed terminal (SIGHUP), 130 for Ctrl-C and 143 for SIGTERM.

    Args:
        message: Where it stopped.
        signal: The number of the signal.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal


class DrawingStoppedError(StoppedError):
    """A run or comparison that is finished and was asked to stop while its report was drawn."""
