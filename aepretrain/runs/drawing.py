"""Drawing the report of what is finished."""

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from aepretrain.errors import DrawingStoppedError, StoppedError
from aepretrain.training.recovery.signals import stop_at_signal


@contextlib.contextmanager
def drawing_report(folder: Path) -> Iterator[None]:
    """Exit this block at once when a signal arrives: the report of a directory is drawn in it.

    Raises:
        DrawingStoppedError: If a signal comes; the message names the command that draws the report.

    Example:
        >>> with drawing_report(Path("runs/a")):
        ...     pass
    """
    try:
        with stop_at_signal("while the report was drawn; all else is finished"):
            yield
    except StoppedError as error:
        command = f"aepretrain report {shlex.quote(str(folder))}"
        raise DrawingStoppedError(f"{error} Draw it by: {command}", error.signal) from error
