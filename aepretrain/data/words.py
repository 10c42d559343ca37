"""Numbers and lists as sentences have them."""

from collections.abc import Iterable
from itertools import islice

SHOWN = 10
"""Number of words that a sentence lists."""


def count_of(number: int, noun: str) -> str:
    """A number and a noun.

    Example:
        >>> count_of(1, "file"), count_of(1234, "file")
        ('1 file', '1,234 files')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def list_of(words: Iterable[str], between: str = ", ", most: int = SHOWN) -> str:
    """The first words, at most ten or as many as given, and how many more there are.

    Example:
        >>> list_of(["cat", "dog"])
        'cat, dog'
        >>> list_of("abcdefghijklm")
        'a, b, c, d, e, f, g, h, i, j and 3 more'
    """
    words = iter(words)
    shown = between.join(islice(words, most))
    more = sum(1 for _ in words)
    return f"{shown} and {more:,} more" if more else shown
