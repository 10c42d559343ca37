"""t-SNE in a process of its own: scikit-learn's can end the process, and a picture must not end a run.

Run as a program, this file embeds the arrays that it reads from standard input. It imports nothing of the package, so
that it starts fast, and it is started by its path, so that it needs no ``__main__`` guard in a user's script.
"""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
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
    """t-SNE of several arrays in another process; one that fails does not keep the others.

    The process takes a second to load scikit-learn: ``load`` starts it while something else is done.

    Args:
        seconds: Time limit of all together, from the moment at which somebody waits for them.

    Example:
        >>> with NeighbourEmbeddings() as neighbours:
        ...     neighbours.begin([np.random.default_rng(0).random((12, 4))])
        ...     [points.shape for points in neighbours.points()]
        [(12, 2)]
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self.spaces: Sequence[NDArray[np.floating]] | None = None
        self.program: _Program | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def load(self) -> None:
        """Start the process."""
        if self.program is None:
            self.program = _Program()

    def begin(self, spaces: Sequence[NDArray[np.floating]]) -> None:
        """Embed arrays as for :func:`neighbour_embedding`, and return at once; those that have begun go on."""
        if self.spaces is not None and _are_equal(self.spaces, spaces):
            return
        if self.spaces is not None or (self.program is not None and self.program.has_left):
            self._end()
        self.spaces = spaces
        if len(spaces):
            self.program = self.program or _Program()
            self.program.begin(spaces)

    def points(self) -> list[Points | str]:
        """Wait for the points of each array, or the reason why there are none."""
        spaces, found, deadline = self.spaces or [], list[Points | str](), time.monotonic() + self.seconds
        while len(found) < len(spaces):
            assert self.program is not None
            points, reason = self.program.wait(deadline - time.monotonic())
            found += points
            if reason == LATE:
                found += [LATE] * (len(spaces) - len(found))
            elif len(found) < len(spaces):
                found.append(reason)
                self.program = _Program()
                self.program.begin(spaces[len(found) :])
        return found

    def _end(self) -> None:
        if self.program is not None:
            self.program.end()
        self.program = None


def _are_equal(some: Sequence[NDArray[np.floating]], others: Sequence[NDArray[np.floating]]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))


class _Program:
    """A process that embeds arrays until one fails."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.reason = LATE
        self.sender: threading.Thread | None = None
        self.answer = self.errors = b""
        command = [sys.executable or "python3", "-P", "-W", "ignore", __file__]
        pipe = subprocess.PIPE
        try:
            # One thread: the others are for the training that may still go on.
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)  # noqa: S603
        except OSError as error:
            self.reason = f"its process could not be started ({error})"

    @property
    def has_left(self) -> bool:
        """Whether the process was never started, or has ended."""
        return self.process is None or self.process.poll() is not None

    def begin(self, spaces: Sequence[NDArray[np.floating]]) -> None:
        """Send it arrays. A thread does so: the process reads them once it has loaded scikit-learn."""
        self.sender = threading.Thread(target=self._send, args=[_packed(spaces)], daemon=True)
        self.sender.start()

    def _send(self, sent: bytes) -> None:
        if self.process is not None:
            self.answer, self.errors = self.process.communicate(sent)

    def wait(self, seconds: float) -> tuple[list[Points], str]:
        """The points so far when the process has ended, or time is up, and the reason why there are no more."""
        assert self.sender is not None
        self.sender.join(max(seconds, 0))
        is_late = self.sender.is_alive()
        self.end()
        if self.process is not None and not is_late:
            self.reason = _reason(self.process.returncode, self.errors)
        return list(_arrays(io.BytesIO(self.answer))), self.reason

    def end(self) -> None:
        """End the process, if it has not ended."""
        if self.process is not None:
            self.process.kill()
            if self.sender is None:
                self.process.communicate()  # closes the pipes
        if self.sender is not None:
            self.sender.join()


def _reason(code: int, errors: bytes) -> str:
    if code < 0:
        names = {each.value: each.name for each in signal.Signals}
        return f"its process was ended by {names.get(-code, f'signal {-code}')}"
    lines = errors.decode(errors="replace").strip().splitlines()
    told = (line for line in reversed(lines) if ERROR.match(line))
    return f"its process failed ({next(told, lines[-1] if lines else f'exit code {code}')})"


def _packed(arrays: Iterable[NDArray[np.floating]]) -> bytes:
    """Arrays as bytes: NumPy writes none into a buffered pipe, whose position it asks for."""
    packed = io.BytesIO()
    for array in arrays:
        np.save(packed, array, allow_pickle=False)
    return packed.getvalue()


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
        sys.stdout.buffer.write(_packed([neighbour_embedding(x)]))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _embed_stdin()
