"""Thresholds for outliers, found on the reconstruction errors of validation rows."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from aepretrain.errors import ConfigError
from aepretrain.results.records import shown

CONTAMINATION = 0.01
"""The share of rows like the validation rows that may be taken for outliers, where none is named."""
MOST = 1000
"""Errors that are kept at most."""


@dataclass(frozen=True)
class ValidationErrors:
    r"""The reconstruction errors of validation rows, which no layer was trained on.

    Of :math:`N` rows and a share :math:`c`, the threshold is the error of rank

    .. math:: r = \lceil (N + 1) (1 - c) \rceil

    in order of size. If new rows are like the validation rows, on average at most the share :math:`c` of them lie above
    it, whatever the network is.

    Args:
        rows: Number of validation rows :math:`N`.
        errors: Their errors in nats, in order of size; of more than :data:`MOST` those of as many evenly spaced ranks,
            the largest among them. For a rank between two of these, the next larger one counts.

    Reference:
        Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World (2005), section 2.2; Angelopoulos, Bates: A
        Gentle Introduction to Conformal Prediction (2021), section 4.4.

    Example:
        >>> found = ValidationErrors.of(torch.arange(1.0, 100.0))
        >>> found.threshold(0.01), found.threshold(0.1)
        (99.0, 90.0)
    """

    rows: int
    errors: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "errors", tuple(self.errors))
        numbers = all(type(error) is float and math.isfinite(error) for error in self.errors)
        if type(self.rows) is not int or not numbers or len(self.errors) != min(self.rows, MOST) or not self.rows:
            raise ValueError(f"{shown(self.rows)} rows need as many errors, or {MOST}, all of them finite numbers.")
        if list(self.errors) != sorted(self.errors):
            raise ValueError("the errors must be in order of size.")

    @classmethod
    def of(cls, errors: Tensor) -> Self:
        """Keep what thresholds need of the errors of validation rows, shape ``(N,)``.

        Raises:
            ValueError: If there are none, or one is not finite.
        """
        ordered = errors.detach().double().cpu().sort().values.tolist()
        return cls(len(ordered), tuple(ordered[rank - 1] for rank in _ranks(len(ordered))))

    @classmethod
    def restore(cls, rows: int, errors: Tensor) -> Self:
        """Build them from what :meth:`tensor` gives, and the number of rows.

        Raises:
            ValueError: If they are no errors of so many rows, in order of size.
        """
        return cls(rows, tuple(errors.tolist()))

    def tensor(self) -> Tensor:
        """The errors that are kept, float64, shape ``(min(N, MOST),)``."""
        return torch.tensor(self.errors, dtype=torch.float64)

    def threshold(self, contamination: float = CONTAMINATION) -> float:
        """The error above which a row is an outlier, in nats.

        Args:
            contamination: The share :math:`c` in ``(0, 0.5]``.

        Raises:
            ConfigError: If it lies outside, or there are too few validation rows for it.
        """
        if not 0 < contamination <= 0.5:
            raise ConfigError(f"contamination must lie in (0, 0.5], but is {contamination}. Usual is 0.01.")
        rank = self.rows + 1 - math.floor((self.rows + 1) * contamination + 1e-9)
        if rank > self.rows:
            needed, least = math.ceil(1 / contamination - 1e-9) - 1, math.ceil(1000 / (self.rows + 1)) / 1000
            raise ConfigError(
                f"contamination {contamination:g} needs {needed:,} validation rows, but the run has {self.rows:,}. "
                f"Take {least:g} or more."
            )
        return next(error for own, error in zip(_ranks(self.rows), self.errors, strict=True) if own >= rank)


def _ranks(rows: int) -> list[int]:
    """The ranks from 1 whose errors are kept."""
    count = min(rows, MOST)
    return [-(-(k + 1) * rows // count) for k in range(count)]
