"""The transform of a table: missing values filled in and marked, numbers scaled, categories as one-hot features."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aepretrain.data.columns import Column
from aepretrain.data.file_rows import FileRows
from aepretrain.data.rank_gauss import RankGauss
from aepretrain.data.rows import Inputs, choose, pieces
from aepretrain.data.transforms import MinMax, NoTransform, Standardize, Transform
from aepretrain.errors import DataError

SCALINGS: dict[str, type[Transform]] = {cls.__name__: cls for cls in (NoTransform, Standardize, MinMax, RankGauss)}
"""What may scale the numbers of a table."""
LEAST_SEEN = 2
"""Training rows of a category from which on it has a feature of its own; those of rarer ones train the code other."""
SAMPLED = 100_000
"""Training rows, spread evenly, that medians are taken of at most."""


class Imputed(Transform):
    """Numbers of a table whose missing values are filled in by the median of the training rows.

    Args:
        places: The columns of numbers among all columns.

    Example:
        >>> raw = torch.tensor([[1.0, 7.0], [torch.nan, 7.0], [5.0, 7.0]])
        >>> Imputed([0]).fit(raw)(raw).tolist()
        [[1.0], [3.0], [5.0]]
    """

    statistics = ("median",)
    words = "missing values replaced by the median"
    median: Tensor

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.places = list(places)

    def fit(self, x: Inputs) -> Self:
        rows = torch.linspace(0, len(x) - 1, min(len(x), SAMPLED), dtype=torch.float64).round().long()
        sample = choose(x, rows)[:][:, self.places].double().numpy()
        self.median = torch.from_numpy(_medians(sample)).float()
        return self

    def scale_(self, x: Tensor) -> Tensor:
        numbers = x[:, self.places]
        return numbers.where(~numbers.isnan(), self.median)

    def inverse(self, scaled: Tensor) -> Tensor:
        return scaled

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (len(self.places),)

    def reserve(self, in_shape: tuple[int, ...]) -> Self:
        return super().reserve((len(self.places),))


class TableTransform(Transform):
    r"""The map from the columns of a table, one number each, to the features of a network.

    Features come in four blocks: numbers and dates, with missing values replaced by the median and then scaled;
    booleans, with missing values replaced likewise; for each of these columns that had missing values a feature that is
    1 where the value is missing; and for each category a one-hot group of its values, of ``other`` (unseen values, and
    those of a single training row) and, if values were missing, of ``missing``. Medians, scaling and the values that
    have a feature of their own are those of the training rows.

    Args:
        columns: The columns in order, or their fields as plain values.
        scaling: The transform of numbers and dates, or its type and arguments as plain values.

    Raises:
        ValueError: If there are no columns, or the scaling is not known.

    Example:
        >>> columns = [Column("mass", "numeric", missing=True), Column("island", "category", ("Biscoe", "Dream"))]
        >>> raw = torch.tensor([[1.0, 0.0], [3.0, 0.0], [torch.nan, 1.0], [2.0, 1.0]])
        >>> transform = TableTransform(columns, NoTransform()).fit(raw)
        >>> transform.feature_names
        ['mass', 'mass missing', 'island=Biscoe', 'island=Dream', 'island=other']
        >>> transform(torch.tensor([[torch.nan, 2.0]]))
        tensor([[2., 1., 0., 0., 1.]])
    """

    statistics = ("seen",)
    seen: Tensor
    """Whether each value of each category has a feature of its own, in the order of columns and values."""

    def __init__(self, columns: Sequence[Column | Mapping[str, Any]], scaling: Transform | Mapping[str, Any]) -> None:
        super().__init__()
        self.columns = [each if isinstance(each, Column) else Column(**each) for each in columns]
        if not self.columns or len({column.name for column in self.columns}) < len(self.columns):
            raise ValueError(
                f"a table needs columns of different names, but has {[each.name for each in self.columns]}."
            )
        kinds = [column.kind for column in self.columns]
        self.numeric = [k for k, kind in enumerate(kinds) if kind in ("numeric", "date")]
        self.boolean = [k for k, kind in enumerate(kinds) if kind == "boolean"]
        self.marked = [k for k in (*self.numeric, *self.boolean) if self.columns[k].missing]
        self.categories = [k for k, kind in enumerate(kinds) if kind == "category"]
        self.imputed = Imputed([*self.numeric, *self.boolean])
        self.scaling = scaling if isinstance(scaling, Transform) else _build_scaling(scaling)
        self.words = (
            f"{len(self.numeric)} numbers ({self.scaling.words}), {len(self.boolean)} booleans, {len(self.categories)} "
            f"categories as one-hot features; missing values replaced by the median and marked in {len(self.marked)} "
            "columns"
        )

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Numbers of features of the categories."""
        return tuple(len(self.columns[k].features) for k in self.categories)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features, in order."""
        numbers = [self.columns[k].name for k in (*self.numeric, *self.boolean)]
        marks = [f"{self.columns[k].name} missing" for k in self.marked]
        return [*numbers, *marks, *(name for k in self.categories for name in self.columns[k].features)]

    @property
    def is_fitted(self) -> bool:
        parts = [self.imputed, self.scaling] if self.numeric else [self.imputed]
        return super().is_fitted and all(part.is_fitted for part in parts)

    def out_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (len(self.feature_names),)

    def names_out(self, columns: Sequence[str]) -> list[str]:
        return self.feature_names

    def fit(self, x: Inputs) -> Self:
        if not len(x):
            raise DataError("the transform of a table cannot be fitted: there are no training rows. Check the split.")
        self.imputed.fit(x)
        if self.numeric:
            numbers = Imputed(self.numeric)
            numbers.median = self.imputed.median[: len(self.numeric)]
            self.scaling.fit(x.scaled_by(numbers) if isinstance(x, FileRows) else numbers(x))
        counts = [torch.zeros(len(self.columns[k].values), dtype=torch.long) for k in self.categories]
        for part in pieces(x):
            for k, count in zip(self.categories, counts, strict=True):
                codes = part[:, k].nan_to_num(len(count)).long().clamp(0, len(count))
                count += codes.bincount(minlength=len(count) + 1)[:-1]
        self.seen = torch.cat([torch.zeros(0, dtype=torch.bool), *(count >= LEAST_SEEN for count in counts)])
        return self

    def scale_(self, x: Tensor) -> Tensor:
        self._check(x)
        numbers = self.imputed.scale_(x)
        scaled = self.scaling.scale_(numbers[:, : len(self.numeric)].contiguous()) if self.numeric else numbers[:, :0]
        marks = x[:, self.marked].isnan().to(x.dtype)
        groups = [self._one_hot(x[:, k], self.columns[k], seen) for k, seen in self._seen_by_category()]
        return torch.cat([scaled, numbers[:, len(self.numeric) :], marks, *groups], dim=1)

    def _seen_by_category(self) -> list[tuple[int, Tensor]]:
        sizes = [len(self.columns[k].values) for k in self.categories]
        return list(zip(self.categories, self.seen.split(sizes), strict=True)) if sizes else []

    def _one_hot(self, codes: Tensor, column: Column, seen: Tensor) -> Tensor:
        """The group of a category, shape ``(B, size)``, for codes of shape ``(B,)``."""
        known = len(column.values)
        place = codes.nan_to_num(known + column.missing).long()
        is_own = seen[place.clamp(0, known - 1)] | (place >= known)
        place = place.where(is_own & (place >= 0) & (place <= known + column.missing), known)
        return (place[:, None] == torch.arange(len(column.features), device=codes.device)).to(codes.dtype)

    def inverse(self, scaled: Tensor) -> Tensor:
        """Columns ``(B, C)`` of features ``(B, D)``: of a category the code of its most probable value.

        ``other`` is the code after the last value, ``missing`` is NaN.
        """
        count = len(self.numeric)
        sizes = [count, len(self.boolean), len(self.marked), *self.group_sizes]
        numbers, answers, _, *groups = scaled.split(sizes, dim=1)
        raw = scaled.new_zeros(len(scaled), len(self.columns))
        raw[:, self.numeric] = self.scaling.inverse(numbers) if count else numbers
        raw[:, self.boolean] = answers
        for k, group in zip(self.categories, groups, strict=True):
            place = group.argmax(dim=1).to(scaled.dtype)
            raw[:, k] = place.where(place <= len(self.columns[k].values), torch.nan)
        return raw

    def scales_like(self, other: Transform) -> bool:
        if not isinstance(other, TableTransform):
            return False
        kinds, theirs = ([(column.name, column.kind) for column in each.columns] for each in (self, other))
        return kinds == theirs and self.scaling.scales_like(other.scaling)

    def restore(self, scaled: Tensor) -> Tensor:
        raw, first = self.inverse(scaled), len(self.numeric) + len(self.boolean)
        marks = scaled[:, first : first + len(self.marked)]
        raw[:, self.marked] = raw[:, self.marked].where(marks < 0.5, torch.nan)
        return raw

    def reserve(self, in_shape: tuple[int, ...]) -> Self:
        if tuple(in_shape) != (len(self.columns),):
            raise ValueError(f"{len(self.columns)} columns cannot have the shape {tuple(in_shape)}.")
        self.imputed.reserve(in_shape)
        if self.numeric:
            self.scaling.reserve((len(self.numeric),))
        self.seen = torch.empty(sum(len(self.columns[k].values) for k in self.categories), dtype=torch.bool)
        return self

    def arguments(self) -> dict[str, Any]:
        columns = [{**asdict(column), "values": list(column.values)} for column in self.columns]
        return {"columns": columns, "scaling": {"type": type(self.scaling).__name__, **self.scaling.arguments()}}

    def _fitted_shape(self) -> torch.Size:
        return torch.Size((len(self.columns),))


def _medians(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each column without its missing values, shape ``(C,)``; 0 where all are missing."""
    if not sample.shape[1]:
        return np.zeros(0)
    from sklearn.impute import SimpleImputer  # here, since a loaded encoder fits nothing

    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return imputer.fit(sample).statistics_


def _build_scaling(described: Mapping[str, Any]) -> Transform:
    arguments = {key: value for key, value in described.items() if key != "type"}
    if (name := described.get("type")) not in SCALINGS:
        raise ValueError(f"numbers are scaled by one of {', '.join(SCALINGS)}, but not by {name!r}.")
    return SCALINGS[name](**arguments)
