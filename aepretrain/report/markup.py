"""HTML that is safe to write: text becomes HTML by being escaped, and nothing else is taken for HTML.

``Markup`` is the type of HTML. Text is ``str``: where it meets HTML, ``&``, ``<``, ``>`` and quotes are escaped, and
control characters, which no page may hold, are replaced.
"""

import re
from collections.abc import Iterable

import markupsafe
from markupsafe import Markup

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")
"""What text of a page does not hold: controls other than tab and line feed, marks that turn its direction, halves of
characters."""
SHOWN = "\ufffd"
"""What stands in the place of a control character."""


def escape(text: str) -> Markup:
    r"""Escape text for HTML; HTML stays as it is.

    Example:
        >>> escape("a < b\x1b")
        Markup('a &lt; b\ufffd')
        >>> escape(Markup("<b>"))
        Markup('<b>')
    """
    return text if isinstance(text, Markup) else markupsafe.escape(without_controls(text))


def without_controls(text: str) -> str:
    """Replace control characters."""
    return CONTROLS.sub(SHOWN, text)


def fill(template: str, *values: str, **named: str) -> Markup:
    """Fill the places ``{}`` of a template of HTML with text, which is escaped, or with HTML.

    Args:
        template: A literal of the program: never text that was read.
        values: Text or HTML of the places in order.
        named: Text or HTML of the places with names.

    Example:
        >>> fill("<p>{}</p>", "a < b")
        Markup('<p>a &lt; b</p>')
    """
    escaped = {name: escape(value) for name, value in named.items()}
    return Markup(template).format(*(escape(value) for value in values), **escaped)  # noqa: S704


def join(parts: Iterable[str], between: str = "\n") -> Markup:
    """Join HTML, and text, which is escaped; empty parts are left out.

    Example:
        >>> join([Markup("<b>a</b>"), "", "c & d"], " ")
        Markup('<b>a</b> c &amp; d')
    """
    return Markup(between).join(escape(part) for part in parts if part)  # noqa: S704


def identifier(name: str) -> str:
    """A name as it may stand in an ``id``: other characters than letters, digits and hyphens become hyphens.

    Example:
        >>> identifier('curves-00 "x"')
        'curves-00--x-'
    """
    return re.sub(r"[^A-Za-z0-9-]", "-", name)
