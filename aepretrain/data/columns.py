"""The columns of a table as numbers: the plain mapping of text to codes that an encoder keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from aepretrain.data.origin import Origin
from aepretrain.errors import DataError

KindName = Literal["numeric", "boolean", "date", "category"]
"""What a column may hold."""
OTHER, MISSING = "other", "missing"
"""Names of the codes of a category that stand for unseen and for missing values."""
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
"""Answers of a boolean column, in capitals or not."""
DAY = 86_400_000_000
"""Microseconds."""
START = 10_957 * DAY
"""The first of January 2000 in microseconds since 1970: days are counted from it."""


@dataclass(frozen=True)
class Column:
    """A feature column of a table: what it holds, and how its values become one number each.

    ``numeric`` is taken as it is, ``boolean`` becomes 0 or 1, ``date`` the days since 2000-01-01, and ``category`` the
    number of its value in ``values``; a value that is not there becomes ``len(values)``. A missing value is NaN.

    Args:
        name: Its name.
        kind: numeric, boolean, date or category.
        values: The known values of a category as text, in order.
        missing: Whether values were missing where the columns were described.

    Raises:
        ValueError: If an argument is of another type, a value is there twice, or a category has no values.

    Example:
        >>> island = Column("island", "category", ("Biscoe", "Dream"), missing=True)
        >>> island.features
        ['island=Biscoe', 'island=Dream', 'island=other', 'island=missing']
    """

    name: str
    kind: KindName
    values: tuple[str, ...] = ()
    missing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not isinstance(self.name, str) or not isinstance(self.missing, bool) or self.kind not in get_args(KindName):
            raise ValueError(f"a column needs a name and a kind out of {', '.join(get_args(KindName))}, but is {self}.")
        if not all(isinstance(value, str) for value in self.values) or len({*self.values}) < len(self.values):
            raise ValueError(f"the values of column {self.name} must be different texts, but are {self.values}.")
        if (self.kind == "category") != bool(self.values):
            raise ValueError(f"column {self.name}: a category has values, and no other column has, but got {self}.")

    @property
    def features(self) -> list[str]:
        """Names of its features: itself, or one for each value of a category."""
        if self.kind != "category":
            return [self.name]
        names = [*self.values, OTHER, *([MISSING] if self.missing else [])]
        return [f"{self.name}={value}" for value in names]

    @property
    def words(self) -> str:
        """Its name, and what it holds."""
        kind = f"category of {len(self.values)}" if self.kind == "category" else self.kind
        return f"{self.name} ({kind}{', some missing' if self.missing else ''})"

    def encode(self, values: Any, origin: Origin, first: int = 0) -> NDArray[np.float64]:
        """The values of an Arrow array as numbers, shape ``(n,)``; missing ones are NaN.

        Args:
            values: The array, as :func:`~aepretrain.data.table_files.read_table` gives it.
            origin: Where the rows come from, for messages.
            first: Number of the first row.

        Raises:
            DataError: If a value is none of the kind; the message names its row.
        """
        import pyarrow
        import pyarrow.compute as compute

        if self.kind == "category":
            codes = compute.index_in(as_text(values), value_set=pyarrow.array(self.values, pyarrow.string()))
            return np.where(values.is_null(), np.nan, codes.fill_null(len(self.values)).to_numpy(zero_copy_only=False))
        numbers = as_numbers(values, self.kind)
        if numbers is None or np.isinf(numbers).any():
            raise self._refusal(values, origin, first)
        return numbers

    def decode(self, numbers: NDArray[np.floating]) -> list[str]:
        """The text of numbers, shape ``(n,)``, as :meth:`encode` reads it again: missing values are empty.

        Example:
            >>> Column("island", "category", ("Biscoe", "Dream")).decode(np.array([1.0, 2.0, np.nan]))
            ['Dream', 'other', '']
            >>> Column("seen", "date").decode(np.array([1.0])), Column("alive", "boolean").decode(np.array([0.7]))
            (['2000-01-02'], ['true'])
        """
        text: dict[str, Callable[[Any], str]] = {
            "numeric": str,
            "boolean": lambda number: "true" if number >= 0.5 else "false",
            "date": lambda number: str(np.datetime64("2000-01-01") + np.timedelta64(round(number), "D")),
            "category": lambda number: (*self.values, OTHER)[int(number)],
        }
        return ["" if np.isnan(number) else text[self.kind](number) for number in numbers]

    def _refusal(self, values: Any, origin: Origin, first: int) -> DataError:
        """The error that names the first value that is none of the kind."""
        for row in range(len(values)):
            number = as_numbers(values[row : row + 1], self.kind)
            if number is None or np.isinf(number).any():
                rule = {
                    "numeric": "finite numbers",
                    "boolean": "true or false",
                    "date": "dates such as 2026-01-31",
                }[self.kind]
                return DataError(
                    f"{origin.name}: column {self.name} must hold {rule}, but {origin.row(first + row)} (the first row "
                    f"is 0) holds {values[row].as_py()!r:.40}. Mend the value, or set data.columns '{{{self.name}: "
                    "category}' or data.drop."
                )
        raise AssertionError(self.name)


def as_text(values: Any) -> Any:
    """The values of an Arrow array as text: whole numbers without a fraction, booleans as true and false.

    Example:
        >>> import pyarrow
        >>> as_text(pyarrow.array([1.0, None, 2.5])).to_pylist()
        ['1', None, '2.5']
    """
    import pyarrow
    import pyarrow.compute as compute
    from pyarrow import types

    if types.is_string(values.type):
        return values
    text = compute.cast(values, pyarrow.string())
    if not types.is_floating(values.type):
        return text
    is_whole = compute.and_(compute.equal(values, compute.floor(values)), compute.less(compute.abs(values), 2.0**53))
    whole = compute.if_else(is_whole, values, None).cast(pyarrow.int64()).cast(pyarrow.string())
    return compute.coalesce(whole, text)


def as_numbers(values: Any, kind: KindName) -> NDArray[np.float64] | None:
    """The values of an Arrow array as numbers, missing ones as NaN; ``None`` if some are not.

    Args:
        values: Text, numbers, booleans, dates or times.
        kind: numeric, boolean or date.

    Example:
        >>> import pyarrow
        >>> as_numbers(pyarrow.array(["2000-01-02", None]), "date").tolist()
        [1.0, nan]
        >>> as_numbers(pyarrow.array(["yes", "no"]), "boolean").tolist(), as_numbers(pyarrow.array(["x"]), "numeric")
        ([1.0, 0.0], None)
    """
    import pyarrow

    try:
        return {"numeric": _numeric, "boolean": _boolean, "date": _date}[kind](values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return None


def _numeric(values: Any) -> NDArray[np.float64]:
    import pyarrow
    from pyarrow import types

    if types.is_temporal(values.type):
        raise pyarrow.ArrowInvalid("dates")
    return _floats(values.cast(pyarrow.float64(), safe=False))


def _boolean(values: Any) -> NDArray[np.float64]:
    import pyarrow
    import pyarrow.compute as compute

    words = compute.utf8_lower(as_text(values))
    is_true, is_false = (compute.is_in(words, value_set=pyarrow.array(known)) for known in (TRUE, FALSE))
    if not compute.all(compute.or_(compute.or_(is_true, is_false), words.is_null())).as_py():
        raise pyarrow.ArrowInvalid("others")
    return _floats(compute.if_else(words.is_valid(), is_true, None).cast(pyarrow.float64()))


def _date(values: Any) -> NDArray[np.float64]:
    import pyarrow
    from pyarrow import types

    if not (types.is_string(values.type) or types.is_timestamp(values.type) or types.is_date(values.type)):
        raise pyarrow.ArrowInvalid("no dates")
    try:
        moments = values.cast(pyarrow.timestamp("us"), safe=False)
    except pyarrow.ArrowInvalid:  # a zone stands in the text
        moments = values.cast(pyarrow.timestamp("us", "UTC"))
    return (_floats(moments.cast(pyarrow.int64()).cast(pyarrow.float64(), safe=False)) - START) / DAY


def _floats(values: Any) -> NDArray[np.float64]:
    return np.asarray(values.fill_null(float("nan")).to_numpy(zero_copy_only=False), np.float64)
