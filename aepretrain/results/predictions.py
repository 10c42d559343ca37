"""Predictions of real targets on test data: ``predictions.npz`` in the folder of a head, a cell or a baseline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aepretrain.errors import StorageError
from aepretrain.storage.array_files import Array, are_finite_numbers, read_arrays, write_arrays
from aepretrain.storage.files import make_folder
from aepretrain.storage.json_files import reason_of

NAME = "predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """Targets and predictions of the same test examples, in units of the target.

    Args:
        targets: Shape ``(N,)``.
        predicted: Shape ``(N,)``.

    Raises:
        ValueError: If they are not as many, or not finite.

    Example:
        >>> import numpy as np
        >>> len(Predictions(np.array([1.0, 2.0]), np.array([1.5, 2.0])).targets)
        2
    """

    targets: Array
    predicted: Array

    def __post_init__(self) -> None:
        shapes = {self.targets.shape, self.predicted.shape}
        if len(shapes) != 1 or self.targets.ndim != 1:
            raise ValueError(f"targets and predictions must be one value per example, but have the shapes {shapes}")
        for name, values in (("targets", self.targets), ("predicted", self.predicted)):
            if not are_finite_numbers(values):
                raise ValueError(f"{name} must be finite real numbers, but are {values.dtype} with other values")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read ``predictions.npz`` of a folder; ``None`` if it is missing.

        Raises:
            StorageError: If it is damaged.
        """
        arrays = read_arrays(folder / NAME)
        if not arrays:
            return None
        try:
            if missing := {"targets", "predicted"} - set(arrays):
                raise ValueError(f"it lacks {' and '.join(sorted(missing))}")
            return cls(arrays["targets"], arrays["predicted"])
        except ValueError as error:
            raise StorageError(
                f"{folder / NAME} cannot be read: {reason_of(error)}. Remove its folder to run again."
            ) from error

    def write(self, folder: Path) -> None:
        """Write ``predictions.npz`` into a folder atomically.

        Raises:
            StorageError: If it cannot be written.
        """
        make_folder(folder)
        write_arrays(folder / NAME, {"targets": self.targets, "predicted": self.predicted})
