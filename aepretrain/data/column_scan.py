"""What the columns of a table hold, found by looking at all rows once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.column_doubts import Doubts
from aepretrain.data.columns import Column, KindName, as_numbers, as_text
from aepretrain.data.labels import MANY
from aepretrain.data.origin import listed
from aepretrain.data.table_files import DecimalMark, is_number, with_decimal_point, with_points
from aepretrain.errors import DataError

CATEGORIES = 100
"""Different texts of a column up to which it is a category."""
MOST_VALUES = 1000
"""Values of a category that have a code of their own at most: the most frequent."""
MOST_SCANNED = 100_000
"""Different values of a column that are counted at most, where the user says that it is a category."""
FEW_SCANNED = 1000
"""The same where nothing is said."""
GUESSED: tuple[KindName, ...] = ("boolean", "numeric", "date")
"""Kinds that all values of a column may be of, in the order in which they are tried."""


@dataclass
class ColumnScan:
    """What was seen of a column so far.

    Args:
        name: Its name.
        kind: What it holds, where the user says so; ``None``: it is found.
        decimal: What stands before the decimals of numbers in text.
    """

    name: str
    kind: KindName | None = None
    decimal: DecimalMark = "."
    rows: int = 0
    missing: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """How often each text occurs."""
    is_many: bool = False
    """Whether there are more different texts than are counted."""
    possible: list[KindName] = field(default_factory=lambda: list(GUESSED))
    """Kinds that all values so far are of."""
    example: str | None = None
    no_number: str | None = None
    """The first value that is no number, if there were numbers before it."""
    is_comma_number: bool = True
    """Whether all values so far are numbers if a comma is a decimal point."""
    doubts: Doubts = field(default_factory=Doubts)
    """What looks wrong with its values."""
    nested: str | None = None
    """The Arrow type of values that are lists or records."""

    def see(self, values: Any) -> None:
        """Take notice of the next rows, an Arrow array."""
        from pyarrow import types

        self.rows += len(values)
        self.missing += values.null_count
        if types.is_nested(values.type):
            self.nested = str(values.type)
        known = values.drop_null()
        if self.nested or not len(known):
            return
        was_number, self.example = "numeric" in self.possible, self.example or str(known[0].as_py())
        numbers = as_numbers(known, "numeric") if {"boolean", "numeric"} & {*self.possible} else None
        self.possible = [kind for kind in self.possible if _all_are(known, kind, numbers)]
        self.doubts.see(known, numbers)
        if was_number and "numeric" not in self.possible:
            texts = as_text(known).to_pylist()
            self.no_number = next((text for text in texts if not is_number(text)), None)
        if "numeric" not in self.possible and self.is_comma_number:
            texts = as_text(known)
            found = None if with_decimal_point(texts) else as_numbers(with_points(texts), "numeric")
            self.is_comma_number = found is not None
        if self.kind in (None, "category"):
            self._count(known)  # also of numbers: a later row may hold other text

    def _count(self, known: Any) -> None:
        if self.is_many:
            return
        for pair in as_text(known).value_counts().to_pylist():
            self.counts[pair["values"]] = self.counts.get(pair["values"], 0) + pair["counts"]
        if len(self.counts) > self.most:
            self.is_many, self.counts = True, {}

    @property
    def most(self) -> int:
        """Different values that are counted at most."""
        return FEW_SCANNED if self.kind is None else MOST_SCANNED

    @property
    def found(self) -> KindName | None:
        """The kind that the user names or that all values are of; ``None`` for text and lists, or without values."""
        if self.nested or not self.rows - self.missing:
            return None
        if self.kind is not None:
            return self.kind
        if self.possible:
            return self.possible[0]
        if self.has_commas or self.doubts.is_grouped:
            return None
        known, distinct = self.rows - self.missing, len(self.counts)
        is_id = self.is_many or distinct > CATEGORIES or distinct > max(MANY, known / 2)
        return None if is_id else "category"

    @property
    def has_commas(self) -> bool:
        """Whether its values are numbers if a comma is a decimal point."""
        return self.is_comma_number and not self.possible and self.example is not None

    @property
    def has_decimal_commas(self) -> bool:
        """Whether its values are numbers with decimal commas, which cannot separate thousands."""
        return self.has_commas and not self.doubts.is_grouped

    @property
    def warnings(self) -> list[str]:
        """Sentences on values that look wrong for what the column is taken for; few where the user says what it is."""
        is_named = self.kind is not None
        sentences = {
            "numeric": lambda: self.doubts.of_numbers(is_named=is_named, has_points=self.decimal == "."),
            "category": lambda: self.doubts.of_category(self.counts, is_named=is_named),
        }.get(self.found or "", list)()
        return [f"column {self.name} {sentence}" for sentence in sentences]

    @property
    def is_empty(self) -> bool:
        """Whether no row holds a value."""
        return self.rows == self.missing

    @property
    def column(self) -> Column:
        """The column, whose values are in sorted order."""
        kind, values = self.found, tuple[str, ...]()
        assert kind is not None
        if kind == "category":
            frequent = sorted(self.counts, key=lambda value: (-self.counts[value], value))[:MOST_VALUES]
            values = tuple(sorted(frequent, key=_sorting))
        return Column(self.name, kind, values, missing=self.missing > 0)

    @property
    def words(self) -> str:
        """Why it is no feature."""
        if self.nested:
            return f"{self.name} (values of type {self.nested})"
        example = repr(str(self.no_number or self.example)[:30])
        if self.doubts.is_grouped:
            return f"{self.name} (numbers with commas that may separate thousands, such as {example})"
        if self.has_commas:
            return f"{self.name} (numbers with a comma, such as {example})"
        if self.doubts.is_dated:
            return f"{self.name} (dates in another form than 2026-01-31, such as {example})"
        many = f"more than {self.most:,}" if self.is_many else f"{len(self.counts):,}"
        examples = {repr(str(each)[:30]): None for each in (self.example, self.no_number) if each is not None}
        return f"{self.name} (text: {many} different values, such as {' and '.join(examples)})"


def _all_are(known: Any, kind: KindName, numbers: NDArray[np.float64] | None) -> bool:
    """Whether all values of an Arrow array without nulls are of a kind; booleans are true and false, or 0 and 1.

    Args:
        known: The values.
        kind: The kind.
        numbers: The values as numbers, if they are numbers.
    """
    if kind == "date":
        return as_numbers(known, kind) is not None
    if numbers is not None:
        return kind == "numeric" or bool(np.isin(numbers, (0, 1)).all())
    if kind == "numeric":
        return False
    return {*as_text(known).unique().to_pylist()} <= {"true", "false", "True", "False", "TRUE", "FALSE"}


def _way_of_commas(refused: Sequence[ColumnScan]) -> str:
    """Sentences that begin with a space, where a column holds numbers with commas."""
    decimals = " Decimal commas are read by --data.decimal ','." if any(each.has_commas for each in refused) else ""
    is_grouped = any(each.doubts.is_grouped for each in refused)
    return decimals + (" Write numbers without separators of thousands." if is_grouped else "")


def _sorting(value: str) -> tuple[float, str]:
    """Numbers by their size, before other texts in the order of the alphabet."""
    return (float(value) if is_number(value) else float("inf"), value)


def scan(scans: Sequence[ColumnScan], batches: Iterable[Mapping[str, Any]]) -> None:
    """Look at all rows of a table."""
    for batch in batches:
        for each in scans:
            each.see(batch[each.name])


def describe(scans: Sequence[ColumnScan], table: str) -> list[Column]:
    """The columns that become features: those that hold a value.

    Args:
        scans: What was seen of all rows.
        table: Name of the table, for messages.

    Raises:
        DataError: If there are no rows, a column holds text or lists, or a category has too many values; all such
            columns are named.
    """
    if scans and not scans[0].rows:
        raise DataError(f"{table} has no rows below the names of its columns. Name another file.")
    usable = [each for each in scans if not each.is_empty]
    refused = [each for each in usable if each.found is None]
    if refused:
        names = ", ".join(each.name for each in refused)
        held = listed([each.words for each in refused])
        raise DataError(
            f"{table}: features must be numbers, booleans, dates or categories, but {held} "
            f"{'is none' if len(refused) == 1 else 'are none'} of these. Leave out by --data.drop '[{names}]', or name "
            f"categories by --data.columns '{{{refused[0].name}: category}}'.{_way_of_commas(refused)}"
        )
    if many := [each.name for each in usable if each.found == "category" and each.is_many]:
        raise DataError(
            f"{table}: a category may have {MOST_SCANNED:,} different values, but {listed(many)} has more. Group its "
            f"values, or leave it out by --data.drop '[{', '.join(many)}]'."
        )
    if not usable:
        raise DataError(f"{table} has no columns of features that hold a value. Name some by data.features.")
    return [each.column for each in usable]
