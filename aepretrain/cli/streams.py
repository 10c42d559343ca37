"""Standard output and error of the command, which outlive their reader."""

import errno
import io
import os
import sys
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)
"""The other end of the pipe is closed; the terminal is gone."""


class LastingFile(io.FileIO):
    """A stream of this process whose reader may go away: what is written from then on is dropped.

    Raises:
        OSError: At the first write that fails for another reason, such as a full disk.

    Args:
        handle: The file descriptor.
    """

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "w", closefd=False)

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        """Write bytes; returns how many."""
        try:
            return super().write(data)
        except OSError as error:
            self._drop_from_now_on()
            if error.errno not in GONE:
                raise  # such as a full disk: told once, here
            return len(data)

    def _drop_from_now_on(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_readers() -> None:
    """Let this program go on when the reader of its output goes away, as in ``aepretrain fit ... | head -1``."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO) -> TextIO:
    # Windows knows no closed pipe by these numbers, and its console is no file.
    if stream is None or os.name == "nt":
        return stream
    try:
        handle, encoding, errors = stream.fileno(), stream.encoding, stream.errors
    except (OSError, AttributeError):
        return stream
    stream.flush()
    file = io.BufferedWriter(LastingFile(handle))
    return io.TextIOWrapper(file, encoding=encoding, errors=errors, line_buffering=stream.isatty() or handle == 2)
