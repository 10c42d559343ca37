"""Drawing that may fail: what cannot be drawn costs a sentence in the report and on the terminal, never a result."""

from collections.abc import Callable, Iterable
from pathlib import Path

from markupsafe import Markup

from aepretrain.console import print_line
from aepretrain.errors import AEPretrainError, StoppedError, UnwritableError, one_line
from aepretrain.report.markup import join
from aepretrain.report.page import missing

SHORT = 300
"""Maximum number of characters of a reason."""


def draw_or_explain(what: str, draw: Callable[[], Markup | Iterable[Markup]]) -> Markup:
    r"""Draw a part of the report as HTML; if drawing fails, the part is a sentence with the reason.

    Args:
        what: The subject of the sentence, such as ``the filters of layer 1``.
        draw: Returns the part, or several, as HTML.

    Raises:
        AEPretrainError: If a file is damaged or cannot be written, which is no failure of drawing.

    Example:
        >>> draw_or_explain("the chart", lambda: [Markup("<p>a</p>"), Markup("<p>b</p>")])
        Markup('<p>a</p>\n<p>b</p>')
        >>> draw_or_explain("the chart", lambda: str(1 / 0))
        warning: the chart could not be drawn: division by zero.
        Markup('<p class="missing">The chart could not be drawn: division by zero.</p>')
    """
    try:
        drawn = draw()
        return drawn if isinstance(drawn, Markup) else join(drawn)
    except AEPretrainError:
        raise
    except Exception as error:
        return explain(f"{what} could not be drawn: {_in_one_line(error)}.")


def explain(sentence: str) -> Markup:
    """Print why a part of the report is missing, and return the paragraph that takes its place."""
    print_line(f"warning: {sentence}")
    return missing(sentence[:1].upper() + sentence[1:])


def attempt_picture(path: Path, draw: Callable[[], None]) -> None:
    """Draw and write a picture; if drawing fails, print the reason.

    Args:
        path: The picture, which the message names.
        draw: Draws and writes it.

    Raises:
        AEPretrainError: If a file is damaged or cannot be written.
    """
    try:
        draw()
    except AEPretrainError:
        raise
    except Exception as error:
        print_line(f"warning: {path} could not be drawn: {_in_one_line(error)}. No result depends on it.")


def draw_report(write: Callable[[Path], Path], folder: Path) -> None:
    """Write the report of a finished run or comparison and print its path; if that fails, print the reason.

    Args:
        write: Writes the report of a directory and returns its path.
        folder: The directory, whose results are complete.

    Raises:
        UnwritableError: If the disk is full or refuses the file; the run can be resumed.

    Example:
        >>> draw_report(lambda folder: folder / "report.html", Path("runs/a"))
        drawing the report
        report   runs/a/report.html
    """
    print_line("drawing the report")
    try:
        path = write(folder)
    except (UnwritableError, StoppedError):
        raise
    except Exception as error:
        print_line(
            f"warning: the report could not be drawn: {_in_one_line(error)}. All results are written; "
            f"aepretrain report {folder} draws it again."
        )
    else:
        print_line(f"report   {path}")


def _in_one_line(error: Exception) -> str:
    return one_line(str(error), SHORT).rstrip(".") or type(error).__name__
