"""Reading rows in a background thread, in the order in which they will be requested."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Semaphore, Thread

import torch
from torch import Tensor

FIRST = 512
"""Rows of the first window, small so that training starts early."""
WINDOWS = 3
"""Number of windows that may exist at once: one in use, one ready, one being read."""


class ReadAhead:
    """A thread that reads the next windows of rows while the current window is in use.

    Args:
        read: Returns the rows with the given indices. It runs in the thread.
        rows: Indices of the rows that will be requested, in this order.
        window: Maximum number of rows in a window.
        first: Rows of the first window; later windows double in size up to ``window``.

    Example:
        >>> ahead = ReadAhead(lambda rows: rows * 10, torch.arange(6), window=4)
        >>> ahead.take(torch.tensor([0, 1])), ahead.take(torch.tensor([5])), ahead.take(torch.tensor([2]))
        (tensor([ 0, 10]), None, tensor([20]))
        >>> ahead.stop()
    """

    def __init__(self, read: Callable[[Tensor], Tensor], rows: Tensor, window: int, first: int = FIRST) -> None:
        self._read = read
        self._rows = rows
        self._window = window
        self._first = min(first, window)
        self._taken = 0
        self._current = torch.empty(0)
        self._offset = 0
        self._ready: SimpleQueue[Tensor | Exception] = SimpleQueue()
        self._free = Semaphore(WINDOWS - 1)
        self._stopped = False
        self._thread = Thread(target=self._run, name="aepretrain-read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begin, size = 0, self._first
        while begin < len(self._rows):
            self._free.acquire()
            if self._stopped:
                return
            try:
                self._ready.put(self._read(self._rows[begin : begin + size]))
            except Exception as error:  # take() raises it in the requesting thread
                self._ready.put(error)
                return
            begin, size = begin + size, min(2 * size, self._window)

    def take(self, rows: Tensor) -> Tensor | None:
        """The rows with these indices if they are next in the order, else ``None``.

        Raises:
            Exception: The error of the background read.
        """
        end = self._taken + len(rows)
        if self._stopped or not len(rows) or not torch.equal(self._rows[self._taken : end], rows):
            return None
        self._taken = end
        part = self._next(len(rows))
        if len(part) == len(rows):
            return part
        whole, filled = part.new_empty(len(rows), *part.shape[1:]), 0
        while len(part):
            whole[filled : filled + len(part)] = part
            filled += len(part)
            part = self._next(len(rows) - filled)
        return whole

    def _next(self, count: int) -> Tensor:
        """The next ``count`` rows, or fewer if the window ends before."""
        if count and self._offset == len(self._current):
            self._next_window()
        self._offset += (count := min(count, len(self._current) - self._offset))
        return self._current[self._offset - count : self._offset]

    def _next_window(self) -> None:
        self._current = torch.empty(0)  # frees its memory before the thread allocates more
        self._free.release()
        found = self._ready.get()
        if isinstance(found, Exception):
            self._stopped = True
            raise found
        self._current, self._offset = found, 0

    def stop(self) -> None:
        """End the thread and free the windows; rows already taken stay valid."""
        self._stopped = True
        self._free.release()
        self._thread.join()
        self._current, self._ready = torch.empty(0), SimpleQueue()
