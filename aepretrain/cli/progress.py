"""A progress bar over rows, on a terminal."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, Progress, TimeRemainingColumn

from aepretrain.console import console

Piece = TypeVar("Piece")


def track_rows(pieces: Iterable[Piece], count: int, rows_of: Callable[[Piece], int]) -> Iterator[Piece]:
    """Pass on pieces of rows, under a bar with the time left on a terminal.

    Args:
        pieces: The pieces.
        count: Number of rows of all of them.
        rows_of: Number of rows of a piece.

    Example:
        >>> list(track_rows(["ab", "c"], 3, len))
        ['ab', 'c']
    """
    columns = ("{task.completed:,} of {task.total:,} rows", BarColumn(20), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=count)
        for piece in pieces:
            yield piece
            bar.advance(task, rows_of(piece))
