"""t-SNE in a process of its own: scikit-learn's can end the process, and a picture must not end a run.

Run as a program, this file embeds the arrays that it reads from standard input. It imports nothing of the package, so
that it starts fast, and it is started by its path, so that it needs no ``__main__`` guard in a user's script.
"""

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

Points = NDArray[np.floating]
"""Shape ``(N, 2)``."""

ERROR = re.compile(r"[\w.]+(Error|Exception): ")
"""The line of a traceback that names the error; further lines of its message may follow."""
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


def neighbour_embeddings(spaces: Sequence[NDArray[np.floating]], seconds: float = SECONDS) -> list[Points | str]:
    """Embed several arrays by t-SNE in another process; one that fails does not keep the others from being embedded.

    Args:
        spaces: Arrays as for :func:`neighbour_embedding`.
        seconds: Time limit of all together.

    Returns:
        For each array its points, or the reason why there are none.

    Example:
        >>> [points.shape for points in neighbour_embeddings([np.random.default_rng(0).random((12, 4))])]
        [(12, 2)]
    """
    end, found = time.monotonic() + seconds, list[Points | str]()
    while len(found) < len(spaces):
        points, reason = _embed_elsewhere(spaces[len(found) :], end - time.monotonic())
        found += points
        if len(found) < len(spaces):
            found.append(reason)
    return found


def _embed_elsewhere(spaces: Sequence[NDArray[np.floating]], seconds: float) -> tuple[list[Points], str]:
    """Embed arrays in another process until one fails: the points so far, and the reason of the failure."""
    late = "it took too long"
    if seconds <= 0:
        return [], late
    sent = io.BytesIO()
    for x in spaces:
        np.save(sent, x, allow_pickle=False)
    command = [sys.executable or "python3", "-P", "-W", "ignore", __file__]
    try:
        done = subprocess.run(command, input=sent.getvalue(), capture_output=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        return list(_arrays(io.BytesIO(error.stdout or b""))), late
    except OSError as error:
        return [], f"its process could not be started ({error})"
    return list(_arrays(io.BytesIO(done.stdout))), _reason(done.returncode, done.stderr)


def _reason(code: int, errors: bytes) -> str:
    if code < 0:
        names = {each.value: each.name for each in signal.Signals}
        return f"its process was ended by {names.get(-code, f'signal {-code}')}"
    lines = errors.decode(errors="replace").strip().splitlines()
    told = (line for line in reversed(lines) if ERROR.match(line))
    return f"its process failed ({next(told, lines[-1] if lines else f'exit code {code}')})"


def _arrays(stream: BinaryIO) -> Iterator[NDArray[np.floating]]:
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
