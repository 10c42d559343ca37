"""The page: a skeleton of HTML that needs nothing outside itself, on a screen and on paper, light and dark."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from aepretrain.report.colours import DARK, LIGHT, css_variables
from aepretrain.storage.files import write_whole

# A closed <details> prints nothing but its summary: the only script of the page opens them before printing.
SCRIPT = """\
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole document.

    Args:
        title: Of the window or tab.
        parts: The body, as HTML.

    Example:
        >>> page("A run", ["<p>Words.</p>"]).splitlines()[0]
        '<!DOCTYPE html>'
    """
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    css = css.replace("LIGHT", css_variables(LIGHT)).replace("DARK", css_variables(DARK))
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An icon that is no file: browsers would ask for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n<script>{SCRIPT}</script>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def write_page(path: Path, html: str) -> Path:
    """Write the document whole or not at all.

    Raises:
        StorageError: If it cannot be written.
    """
    write_whole(path, html.encode())
    return path


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it."""
    return "\n".join([f"<section>\n<h2>{escape(title)}</h2>", *(part for part in parts if part), "</section>"])


def paragraph(text: str, kind: str = "") -> str:
    """Words in a paragraph.

    Example:
        >>> paragraph("a < b", "facts")
        '<p class="facts">a &lt; b</p>'
    """
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def missing(text: str) -> str:
    """Why something is not on the page."""
    return paragraph(text, "missing")


def figure(body: str, title: str, caption: str = "") -> str:
    """A picture with its name, and a plain sentence on what to see in it."""
    return f"<figure>\n{body}\n<figcaption><b>{escape(title)}</b> {escape(caption)}</figcaption>\n</figure>"


def row(figures: Iterable[str], kind: str = "") -> str:
    """Figures beside one another, as many as the window has room for."""
    return f'<div class="row {kind}">\n' + "\n".join(figures) + "\n</div>"


def headline(cards: Iterable[tuple[str, str, str, str]]) -> str:
    """The answer in a few large words.

    Args:
        cards: Per card what it is about, the answer, what more there is to say, and a class for its colour.
    """
    items = "\n".join(
        f'<li><span class="name">{escape(name)}</span> <span class="value {kind}">{escape(value)}</span> '
        f'<span class="more">{escape(more)}</span></li>'
        for name, value, more, kind in cards
    )
    return f'<ul class="headline">\n{items}\n</ul>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A table that scrolls by itself where it is too wide.

    Args:
        columns: The names of the columns.
        rows: Cells as text, or as HTML where they begin with ``<``.
        words: So many columns from the left hold words, the others numbers.

    Example:
        >>> table(["arm", "accuracy"], [["random", "0.9"]]).count("<td")
        2
    """
    kind = lambda place: ' class="number"' if place >= words else ""  # noqa: E731
    head = "".join(f'<th scope="col"{kind(place)}>{escape(name)}</th>' for place, name in enumerate(columns))
    lines = (
        "<tr>" + "".join(f"<td{kind(place)}>{_cell(text)}</td>" for place, text in enumerate(cells)) + "</tr>"
        for cells in rows
    )
    body = "\n".join(lines)
    whole = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll" tabindex="0">{whole}</div>'


def _cell(text: str) -> str:
    return text if text.startswith("<") else escape(text)


def fold(title: str, body: str) -> str:
    """What is long and seldom read: closed on the screen, open on paper."""
    return f"<details>\n<summary>{escape(title)}</summary>\n{body}\n</details>"


def code(text: str, kind: str = "") -> str:
    """Text as it stands in a file."""
    return f'<pre class="{kind}" tabindex="0">{escape(text)}</pre>'
