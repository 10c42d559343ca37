"""What looks wrong with the values of a column: marks of missing values, codes read as numbers, dates read as text."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.origin import listed
from aepretrain.data.words import count_of

MARKS = (-9, -99, -999, -9999, -99999, -999999, 99, 999, 9999, 99999, 999999)
"""Numbers that often stand for a missing value."""
LEAST = 2
"""Rows that hold a mark, from which on it is none by chance."""
PADDED = r"^0\d+$"
"""A number that begins with a zero, as codes do."""
DATED = (
    r"^(\d{1,2}[./-]\d{1,2}[./-]\d{4}|\d\d[./-]\d\d[./-]\d\d|\d{4}[./]\d{1,2}[./]\d{1,2}|\d{1,2}[ -]\pL{3,9}[ -]\d{4})"
    r"([ T].*)?$"
)
"""A date in another form than 2026-01-31."""
GROUPED = r"^[+-]?([1-9]\d{0,2}(,\d{3})+|\d+)(\.\d*)?$"
"""A number whose commas, if any, may separate thousands."""
POINTED = r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$"
"""A number whose points separate thousands, or one point the decimals."""


@dataclass
class Doubts:
    """What was seen of a column so far that looks wrong."""

    marks: Counter[float] = field(default_factory=Counter)
    """How many rows hold each of :data:`MARKS`."""
    low: float = math.inf
    """The least of the other numbers."""
    high: float = -math.inf
    """The largest of the other numbers."""
    padded: str | None = None
    """The first number that begins with a zero."""
    pointed: str | None = None
    """The first number with a point."""
    has_whole: bool = False
    """Whether a number in text has no point."""
    is_pointed: bool = True
    """Whether every point so far may separate thousands."""
    is_dated: bool = True
    """Whether all values so far are text like :data:`DATED`."""
    is_grouped: bool = True
    """Whether all values so far are text like :data:`GROUPED`."""

    def see(self, known: Any, numbers: NDArray[np.float64] | None) -> None:
        """Take notice of the next values.

        Args:
            known: An Arrow array without nulls, not empty.
            numbers: The same as numbers, if they are numbers.
        """
        from pyarrow import types

        if numbers is not None:
            self._see_marks(numbers)
        is_text = types.is_string(known.type)
        if is_text and numbers is not None:
            self._see_numbers(known)
        self.is_dated = self.is_dated and is_text and numbers is None and _all_match(known, DATED)
        self.is_grouped = self.is_grouped and is_text and (numbers is not None or _all_match(known, GROUPED))

    def _see_marks(self, numbers: NDArray[np.float64]) -> None:
        """Set the marks at both ends of the numbers apart; one between others counts as one of them."""
        for extreme in (np.min, np.max):
            while len(numbers) and (value := float(extreme(numbers))) in MARKS:
                is_mark = numbers == value
                self.marks[value] += int(is_mark.sum())
                numbers = numbers[~is_mark]
        if len(numbers):
            self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))

    def _see_numbers(self, known: Any) -> None:
        """Take notice of numbers in text."""
        import pyarrow.compute as compute

        self.padded = self.padded or _first(known.filter(compute.starts_with(known, "0")), PADDED)
        if self.is_pointed:
            pointed = known.filter(compute.match_substring(known, "."))
            self.has_whole = self.has_whole or len(pointed) < len(known)
            self.pointed = self.pointed or (pointed[0].as_py() if len(pointed) else None)
            self.is_pointed = _all_match(pointed, POINTED)

    def of_numbers(self, *, is_named: bool, has_points: bool) -> list[str]:
        """Sentences on a column that is taken as numbers, without its name.

        Args:
            is_named: Whether the user says that they are numbers.
            has_points: Whether points in them stand in the file, and are no decimal commas there.
        """
        far = self.high - self.low
        found = [mark for mark in sorted(self.marks) if mark < self.low - far or mark > self.high + far]
        sentences = [
            f"holds {mark:g} in {count_of(self.marks[mark], 'row')}, far from its other values ({self.low:g} to "
            f"{self.high:g}). If this marks a missing value, leave these cells empty."
            for mark in found
            if self.marks[mark] >= LEAST and 0 < far < math.inf
        ]
        if self.padded is not None and not is_named:
            sentences.append(
                f"holds numbers that begin with zeros, as codes do, such as {self.padded!r}. If they are codes, make "
                "it a category by data.columns."
            )
        if has_points and self.pointed is not None and self.is_pointed and self.has_whole:
            sentences.append(
                f"holds whole numbers beside numbers such as {self.pointed!r}, whose point may separate thousands. If "
                "it does, set data.decimal ','."
            )
        return sentences

    def of_category(self, counts: Mapping[str, int], *, is_named: bool) -> list[str]:
        """Sentences on a column that is taken as a category, without its name.

        Args:
            counts: How often each text occurs.
            is_named: Whether the user says that it is one.
        """
        if self.is_dated and not is_named:
            return [f"looks like dates, such as {next(iter(counts))!r}, but is a category. Write them as 2026-01-31."]
        return [f"holds {pair}. Write them alike if they are one value." for pair in differing_in_capitals(counts)]


def _all_match(known: Any, pattern: str) -> bool:
    import pyarrow.compute as compute

    return bool(compute.all(compute.match_substring_regex(known, pattern), min_count=0).as_py())


def _first(known: Any, pattern: str) -> str | None:
    """The first text that matches."""
    import pyarrow.compute as compute

    found = known.filter(compute.match_substring_regex(known, pattern))
    return found[0].as_py() if len(found) else None


def differing_in_capitals(texts: Collection[str]) -> list[str]:
    """Texts that differ in capitals or spaces alone, as words, at most a sentence; single letters may well differ so.

    Args:
        texts: Different texts.

    Example:
        >>> differing_in_capitals(["Yes", "no", "yes"])
        ["'Yes' and 'yes', which differ in capitals or spaces alone"]
        >>> differing_in_capitals(["Yes", "no"])
        []
    """
    alike: dict[str, list[str]] = {}
    for text in texts if any(len(text) > 1 for text in texts) else ():
        alike.setdefault(" ".join(text.casefold().split()), []).append(text)
    pairs = [f"{one!r} and {other!r}" for one, other, *_ in (found for found in alike.values() if len(found) > 1)]
    return [f"{listed(pairs, 3)}, which differ in capitals or spaces alone"] if pairs else []
