"""Validation rows of a finished run, read from its data again."""

import torch
from torch import Tensor

from aepretrain.cli.config import load_experiment
from aepretrain.cli.finished_run import FinishedRun
from aepretrain.data.examples import Examples
from aepretrain.data.file_rows import FileRows
from aepretrain.data.fingerprint import check_data
from aepretrain.data.rows import choose
from aepretrain.results.run import RunResult

MOST = 10_000
"""Rows that are read at most, spread evenly over the validation rows."""


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
    rows = torch.linspace(0, len(split) - 1, min(len(split), MOST), dtype=torch.float64).round().long()
    x = choose(split.x, rows)
    raw = x.raw()[:] if isinstance(x, FileRows) else transform.restore(x[:])
    return Examples(raw, None if split.y is None else split.y[rows])


def drawn_rows(finished: FinishedRun, count: int = 256) -> Tensor:
    """Raw rows drawn at random, whose scaled values are normal: for comparisons where the data of a run are gone."""
    encoder = finished.encoder
    generator = torch.Generator().manual_seed(0)
    return encoder.transform.restore(torch.randn(count, *encoder.scaled_shape, generator=generator))
