"""Terminal output, which is also written to the run's log."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TimeElapsedColumn, TimeRemainingColumn

from aepretrain.errors import printable
from aepretrain.processes import is_first_process

log = logging.getLogger("aepretrain")
console = Console(soft_wrap=True, highlight=False, force_jupyter=False)


def print_line(line: str) -> None:
    """Print a line and write it to the run's log, in the first process only."""
    if is_first_process():
        line = printable(line)
        console.print(line, markup=False)
        log.info(line)


@contextmanager
def counted(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar with the number of rows done and the time left, on a terminal and in the first process only.

    Args:
        total: Number of all rows; ``None``: it is not known.

    Yields:
        The function to call with the number of rows that were done since.

    Example:
        >>> with counted(10) as count_on:
        ...     count_on(10)
    """
    number = "{task.completed:,} rows" if total is None else "{task.completed:,} of {task.total:,} rows"
    is_shown = console.is_terminal and is_first_process()
    with Progress(
        number, BarColumn(20), TimeRemainingColumn(), console=console, transient=True, disable=not is_shown
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show a text with the time that this block takes, on a terminal and in the first process only.

    Example:
        >>> with busy("counting"):
        ...     sum(range(10))
        45
    """
    is_shown = console.is_terminal and is_first_process()
    columns = (SpinnerColumn(), "{task.description}", TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as bar:
        bar.add_task(escape(text), total=None)
        yield


def format_duration(seconds: float) -> str:
    """Format a duration in seconds for display.

    Example:
        >>> format_duration(3.14), format_duration(75), format_duration(3725)
        ('3.1 s', '1 min 15 s', '1 h 02 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
