"""The data set of a finished run, known from the run's files alone."""

from collections.abc import Sequence

from aepretrain.data.base import DataModule
from aepretrain.data.examples import Source
from aepretrain.errors import DataError


class RecordedData(DataModule):
    """Shape and classes of a data set whose examples are not needed: the networks of a run can be built from these.

    Args:
        in_shape: Shape of one example, without the batch dimension.
        num_classes: Number of classes; ``None``: no classes.
        num_targets: Number of real targets of an example; ``None``: none.

    Example:
        >>> RecordedData([1, 8, 8], 10).in_shape
        (1, 8, 8)
    """

    def __init__(self, in_shape: Sequence[int], num_classes: int | None = None, num_targets: int | None = None) -> None:
        super().__init__()
        self.in_shape = tuple(in_shape)
        self.num_classes = num_classes
        self.num_targets = num_targets

    def load(self) -> Source:
        raise DataError("RecordedData holds no examples. Name the data set of the run.")
