"""Values of test examples one by one, which the errors due to a finite test set need: an ``.npz`` file of a folder."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from aepretrain.errors import StorageError
from aepretrain.results.metric import MetricName
from aepretrain.storage.array_files import Array, are_finite_numbers, read_arrays, write_arrays
from aepretrain.storage.files import make_folder
from aepretrain.storage.json_files import reason_of

AGAIN = "Remove its folder to run again."
"""The way out for damaged values, without which there is no result."""


@dataclass(frozen=True)
class RowValues(ABC):
    """Base class: every field of a subclass is an array of shape ``(N,)``, one value per test example.

    Raises:
        ValueError: If they are not as many, or not finite.
    """

    file: ClassVar[str]
    """Name of the file."""
    words: ClassVar[str]
    """What they are, for messages."""

    def __post_init__(self) -> None:
        arrays = self.arrays
        shapes = {values.shape for values in arrays.values()}
        if len(shapes) != 1 or any(values.ndim != 1 for values in arrays.values()):
            raise ValueError(f"{' and '.join(arrays)} must be one value per example, but have the shapes {shapes}")
        for name, values in arrays.items():
            if not are_finite_numbers(values):
                raise ValueError(f"{name} must be finite real numbers, but are {values.dtype} with other values")

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @abstractmethod
    def error(self, metric: MetricName) -> float:
        """The standard error of a metric due to the finite test set."""

    @abstractmethod
    def difference_error(self, other: Any, metric: MetricName) -> float:
        """The standard error of the difference of a metric from that of other values of the same examples."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the file of a folder; ``None`` if it is missing.

        Raises:
            StorageError: If it is damaged.
        """
        arrays, names = read_arrays(folder / cls.file, AGAIN), [each.name for each in fields(cls)]
        if not arrays:
            return None
        try:
            if missing := set(names) - set(arrays):
                raise ValueError(f"it lacks {' and '.join(sorted(missing))}")
            return cls(*(arrays[name] for name in names))
        except ValueError as error:
            raise StorageError(f"{folder / cls.file} cannot be read: {reason_of(error)}. {AGAIN}") from error

    def write(self, folder: Path) -> None:
        """Write the file into a folder atomically.

        Raises:
            StorageError: If it cannot be written.
        """
        make_folder(folder)
        write_arrays(folder / self.file, self.arrays)
