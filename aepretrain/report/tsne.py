"""t-SNE in a process of its own: scikit-learn's can end the process, and a picture must not end a run.

Run as a program, this file embeds the arrays that it reads from standard input. It imports nothing of the package, so
that it starts fast, and it is started by its path, so that it needs no ``__main__`` guard in a user's script.
"""

import io
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

Points = NDArray[np.floating]
"""Shape ``(N, 2)``."""

ERROR = re.compile(r"[\w.]+(Error|Exception): ")
"""The line of a traceback that names the error; further lines of its message may follow."""
LATE = "it took too long"
SECONDS = 300.0
"""Time limit of all embeddings of a report; 500 points take about 2 seconds each."""


def neighbour_embedding(x: NDArray[np.floating]) -> Points:
    """Embed by t-SNE, which preserves neighbourhoods; distances between clusters mean nothing.

    Args:
        x: Shape ``(N, D)``, with N at least 4.

    Reference:
        van der Maaten, Hinton: Visualizing Data using t-SNE (2008).

    Example:
        >>> neighbour_embedding(np.random.default_rng(0).random((12, 4))).shape
        (12, 2)
    """
    perplexity = min(30.0, (len(x) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0, max_iter=500).fit_transform(x)


class NeighbourEmbeddings:
    """t-SNE of several arrays in another process, which begins at once; one that fails does not keep the others.

    Args:
        spaces: Arrays as for :func:`neighbour_embedding`.
        seconds: Time limit of all together, from now on.

    Example:
        >>> with NeighbourEmbeddings([np.random.default_rng(0).random((12, 4))]) as begun:
        ...     [points.shape for points in begun.points()]
        [(12, 2)]
    """

    def __init__(self, spaces: Sequence[NDArray[np.floating]], seconds: float = SECONDS) -> None:
        self.spaces = spaces
        self.end = time.monotonic() + seconds
        self.program = _Program(spaces)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.program.end()

    def points(self) -> list[Points | str]:
        """Wait for the points of each array, or the reason why there are none."""
        found = list[Points | str]()
        while len(found) < len(self.spaces):
            points, reason = self.program.wait(self.end - time.monotonic())
            found += points
            if len(found) < len(self.spaces):
                found.append(reason)
                self.program.end()
                self.program = _Program(self.spaces[len(found) :] if reason != LATE else [])
        return found


class _Program:
    """A process that embeds arrays until one fails."""

    def __init__(self, spaces: Sequence[NDArray[np.floating]]) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.reason = LATE
        self.files = ExitStack()
        if not len(spaces):
            return
        try:
            # Files, not pipes, which somebody would have to feed while the process starts.
            sent, self.answer, self.errors = (self.files.enter_context(tempfile.TemporaryFile()) for _ in range(3))  # noqa: SIM115
            for x in spaces:
                np.save(sent, x, allow_pickle=False)
            sent.seek(0)
            command = [sys.executable or "python3", "-P", "-W", "ignore", __file__]
            self.process = subprocess.Popen(command, stdin=sent, stdout=self.answer, stderr=self.errors)  # noqa: S603
        except OSError as error:
            self.reason = f"its process could not be started ({error})"

    def wait(self, seconds: float) -> tuple[list[Points], str]:
        """The points so far when the process has ended, or time is up, and the reason why there are no more."""
        if self.process is None:
            return [], self.reason
        try:
            code = self.process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            self.kill()
            reason = LATE
        else:
            self.errors.seek(0)
            reason = _reason(code, self.errors.read())
        self.answer.seek(0)
        return list(_arrays(self.answer)), reason

    def kill(self) -> None:
        """End the process, if it has not ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """End the process, if it has not ended, and remove its files."""
        self.kill()
        self.files.close()


def _reason(code: int, errors: bytes) -> str:
    if code < 0:
        names = {each.value: each.name for each in signal.Signals}
        return f"its process was ended by {names.get(-code, f'signal {-code}')}"
    lines = errors.decode(errors="replace").strip().splitlines()
    told = (line for line in reversed(lines) if ERROR.match(line))
    return f"its process failed ({next(told, lines[-1] if lines else f'exit code {code}')})"


def _arrays(stream: IO[bytes]) -> Iterator[NDArray[np.floating]]:
    """The whole arrays of a stream; one that was cut off ends it."""
    while True:
        try:
            yield np.load(stream, allow_pickle=False)
        except (EOFError, ValueError):
            return


def _embed_stdin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the process that waits for this one
    for x in _arrays(io.BytesIO(sys.stdin.buffer.read())):
        np.save(sys.stdout.buffer, neighbour_embedding(x), allow_pickle=False)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _embed_stdin()
