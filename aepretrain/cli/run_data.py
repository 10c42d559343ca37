"""Validation rows of a finished run, read from its data again."""

import math

import torch
from torch import Tensor

from aepretrain.cli.config import load_experiment
from aepretrain.cli.finished_run import FinishedRun
from aepretrain.data.examples import Examples
from aepretrain.data.file_rows import FileRows
from aepretrain.data.fingerprint import check_data
from aepretrain.data.rows import choose
from aepretrain.results.run import RunResult

MOST, MOST_BYTES, LEAST = 10_000, 64 << 20, 256
"""Validation rows that are read at most, spread evenly, and their size; :data:`LEAST` rows whatever their size."""


def raw_validation_rows(finished: FinishedRun) -> Examples:
    """Raw validation rows of a run, with their labels or targets.

    Rows that the data source keeps scaled alone are scaled back, so they are raw up to rounding.

    Raises:
        DataError: If the data of the run are gone or changed.
        ConfigError: If they cannot be read any more.
    """
    experiment, transform = load_experiment(finished.folder / "config.yaml"), finished.encoder.transform
    data = experiment.data
    data.use_transform(transform)
    recorded = RunResult.read(finished.folder / "results.json").data.fingerprint
    check_data(data, recorded, str(finished.folder), "Put the data of the run back.")
    split = data.splits(experiment.seed).validation
    row_bytes = max(math.prod(finished.encoder.in_shape), math.prod(finished.encoder.scaled_shape)) * 4
    count = min(len(split), MOST, max(LEAST, MOST_BYTES // row_bytes))
    rows = torch.linspace(0, len(split) - 1, count, dtype=torch.float64).round().long()
    x = choose(split.x, rows)
    raw = x.raw()[:] if isinstance(x, FileRows) else transform.restore(x[:])
    return Examples(raw, None if split.y is None else split.y[rows])


def drawn_rows(finished: FinishedRun, count: int = LEAST) -> Tensor:
    """Raw rows drawn at random, whose scaled values are normal: for comparisons where the data of a run are gone."""
    encoder = finished.encoder
    generator = torch.Generator().manual_seed(0)
    return encoder.transform.restore(torch.randn(count, *encoder.scaled_shape, generator=generator))
