"""The HTML page and its elements: self-contained, for screen and paper, light and dark."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from aepretrain.report.colours import DARK, LIGHT, css_variables
from aepretrain.report.markup import fill, join
from aepretrain.storage.files import write_atomically

# A closed <details> prints only its summary; this script, the only one of the page, opens all before printing.
SCRIPT = """\
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));"""


def page(title: str, parts: Iterable[Markup]) -> Markup:
    """Build the HTML document.

    Args:
        title: Title of the window or tab.
        parts: Parts of the body.

    Example:
        >>> page("A run", [Markup("<p>Words.</p>")]).splitlines()[0]
        Markup('<!DOCTYPE html>')
    """
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    css = css.replace("LIGHT", css_variables(LIGHT)).replace("DARK", css_variables(DARK))
    return fill(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon: browsers would otherwise request one.
        '<link rel="icon" href="data:,">\n'
        "<title>{title}</title>\n<style>\n{css}</style>\n<script>{script}</script>\n</head>\n"
        "<body>\n{body}\n</body>\n</html>\n",
        title=title,
        css=Markup(css),  # noqa: S704
        script=Markup(SCRIPT),  # noqa: S704
        body=join(parts),
    )


def write_page(path: Path, html: Markup) -> Path:
    """Write the document atomically, and return its path.

    Raises:
        StorageError: If the file cannot be written.
    """
    write_atomically(path, html.encode())
    return path


def section(title: str, *parts: Markup) -> Markup:
    """Build a section from a heading and its parts."""
    return fill("<section>\n<h2>{}</h2>\n{}\n</section>", title, join(parts))


def heading(text: str, level: int = 3) -> Markup:
    """Build a heading.

    Example:
        >>> heading("Versions")
        Markup('<h3>Versions</h3>')
    """
    return fill(f"<h{level}>{{}}</h{level}>", text)


def paragraph(text: str, kind: str = "") -> Markup:
    """Build a paragraph of text.

    Example:
        >>> paragraph("a < b", "facts")
        Markup('<p class="facts">a &lt; b</p>')
    """
    return fill('<p class="{}">{}</p>', kind, text) if kind else fill("<p>{}</p>", text)


def missing(text: str) -> Markup:
    """Build a paragraph that explains why something is missing."""
    return paragraph(text, "missing")


def warnings_list(sentences: Sequence[str]) -> Markup:
    """Build the list of warnings that stands at the top of a report; empty without warnings.

    Example:
        >>> warnings_list([])
        Markup('')
        >>> warnings_list(["a < b"]).splitlines()[1]
        Markup('<li><b>Warning:</b> a &lt; b</li>')
    """
    items = join(fill("<li><b>Warning:</b> {}</li>", sentence) for sentence in sentences)
    return fill('<ul class="warnings">\n{}\n</ul>', items) if items else Markup("")


def figure(body: Markup, title: str, caption: str = "") -> Markup:
    """Build a figure from a picture, a title and a caption."""
    return fill("<figure>\n{}\n<figcaption><b>{}</b> {}</figcaption>\n</figure>", body, title, caption)


def row(figures: Iterable[Markup], kind: str = "") -> Markup:
    """Place figures side by side, as many as the window has room for."""
    return fill('<div class="row {}">\n{}\n</div>', kind, join(figures))


def headline(cards: Iterable[tuple[str, str, str, str]]) -> Markup:
    """Build the cards that show the main results in large type.

    Args:
        cards: Name, value, further text and CSS class of each card.
    """
    items = join(
        fill(
            '<li><span class="name">{}</span> <span class="value {}">{}</span> <span class="more">{}</span></li>',
            name,
            kind,
            value,
            more,
        )
        for name, value, more, kind in cards
    )
    return fill('<ul class="headline">\n{}\n</ul>', items)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> Markup:
    """Build a table, which scrolls horizontally if it is too wide.

    Args:
        columns: Column names.
        rows: Cells as text or HTML.
        words: Number of leading columns that hold words; the others hold numbers.

    Example:
        >>> table(["arm", "accuracy"], [["random", "0.9"]]).count("<td")
        2
    """
    kind = lambda place: Markup(' class="number"' if place >= words else "")  # noqa: E731, S704
    head = join((fill('<th scope="col"{}>{}</th>', kind(k), name) for k, name in enumerate(columns)), "")
    lines = (
        fill("<tr>{}</tr>", join((fill("<td{}>{}</td>", kind(k), text) for k, text in enumerate(cells)), ""))
        for cells in rows
    )
    return fill(
        '<div class="scroll" tabindex="0"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody></table></div>',
        head,
        join(lines),
    )


def fold(title: str, body: Markup) -> Markup:
    """Build a collapsible block for long details: closed on screen, open on paper."""
    return fill("<details>\n<summary>{}</summary>\n{}\n</details>", title, body)


def code(text: str, kind: str = "") -> Markup:
    """Build a block of preformatted text."""
    return fill('<pre class="{}" tabindex="0">{}</pre>', kind, text)
