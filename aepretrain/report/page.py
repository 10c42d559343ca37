"""The HTML page and its elements: self-contained, for screen and paper, light and dark."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from aepretrain.report.colours import DARK, LIGHT, css_variables
from aepretrain.storage.files import write_atomically

# A closed <details> prints only its summary; this script, the only one of the page, opens all before printing.
SCRIPT = """\
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));"""


def page(title: str, parts: Iterable[str]) -> str:
    """Build the HTML document.

    Args:
        title: Title of the window or tab.
        parts: Parts of the body, as HTML.

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
        # An empty icon: browsers would otherwise request one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n<script>{SCRIPT}</script>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def write_page(path: Path, html: str) -> Path:
    """Write the document atomically, and return its path.

    Raises:
        StorageError: If the file cannot be written.
    """
    write_atomically(path, html.encode())
    return path


def section(title: str, *parts: str) -> str:
    """Build a section from a heading and its parts."""
    return "\n".join([f"<section>\n<h2>{escape(title)}</h2>", *(part for part in parts if part), "</section>"])


def paragraph(text: str, kind: str = "") -> str:
    """Build a paragraph of text.

    Example:
        >>> paragraph("a < b", "facts")
        '<p class="facts">a &lt; b</p>'
    """
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def missing(text: str) -> str:
    """Build a paragraph that explains why something is missing."""
    return paragraph(text, "missing")


def warnings_list(sentences: Sequence[str]) -> str:
    """Build the list of warnings that stands at the top of a report; empty without warnings.

    Example:
        >>> warnings_list([])
        ''
        >>> warnings_list(["a < b"]).splitlines()[1]
        '<li><b>Warning:</b> a &lt; b</li>'
    """
    items = "\n".join(f"<li><b>Warning:</b> {escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="warnings">\n{items}\n</ul>' if items else ""


def figure(body: str, title: str, caption: str = "") -> str:
    """Build a figure from a picture, a title and a caption."""
    return f"<figure>\n{body}\n<figcaption><b>{escape(title)}</b> {escape(caption)}</figcaption>\n</figure>"


def row(figures: Iterable[str], kind: str = "") -> str:
    """Place figures side by side, as many as the window has room for."""
    return f'<div class="row {kind}">\n' + "\n".join(figures) + "\n</div>"


def headline(cards: Iterable[tuple[str, str, str, str]]) -> str:
    """Build the cards that show the main results in large type.

    Args:
        cards: Name, value, further text and CSS class of each card.
    """
    items = "\n".join(
        f'<li><span class="name">{escape(name)}</span> <span class="value {kind}">{escape(value)}</span> '
        f'<span class="more">{escape(more)}</span></li>'
        for name, value, more, kind in cards
    )
    return f'<ul class="headline">\n{items}\n</ul>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Build a table, which scrolls horizontally if it is too wide.

    Args:
        columns: Column names.
        rows: Cells as text, or as HTML if they begin with ``<``.
        words: Number of leading columns that hold words; the others hold numbers.

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
    """Build a collapsible block for long details: closed on screen, open on paper."""
    return f"<details>\n<summary>{escape(title)}</summary>\n{body}\n</details>"


def code(text: str, kind: str = "") -> str:
    """Build a block of preformatted text."""
    return f'<pre class="{kind}" tabindex="0">{escape(text)}</pre>'
