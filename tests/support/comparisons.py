"""Comparisons that take a tenth of a second: a table of 60 rows, layers of a few units, two epochs."""

from aepretrain import Arrays, DenoisingAutoencoder, Dense, Experiment, FineTuning, Pretraining
from aepretrain.compare import Bench, Comparison, Trial
from aepretrain.tracking.options import Tracking
from tests.support.tables import X, Y

CONFIG = {
    "seed": 0, "layers": ["a"], "classifier": {}, "finetune": {}, "data": {"init_args": {}}, "compare": {},
    "control": {"layers": ["b"]},
}  # fmt: skip
WITH_CONFIG = Tracking(loggers=(), config=CONFIG)
"""The loggers of a comparison that was started by the command, with its config."""


def small_data(x=X[:60], y=Y[:60], **options):
    """A table of 60 examples of 3 classes: 36 for training, 12 for validation, 12 for tests."""
    return Arrays(x, y, **options)


def layer(shape):
    return DenoisingAutoencoder(shape, Dense(4))


def wide_layer(shape):
    return DenoisingAutoencoder(shape, Dense(7))


def small_experiment(*layers, **changes):
    settings = {"pretrain": Pretraining(1, 16), "finetune": FineTuning(2, 16), "report": False, **changes}
    return Experiment(list(layers or (layer,)), settings.pop("data", None) or small_data(), **settings)


def small_bench(folder, *, control=None, trials=(), tracking=None, **options):
    """A bench whose runs are in ``folder/runs``; ``options`` are those of the comparison."""
    more = {} if tracking is None else {"tracking": tracking}
    return Bench(Comparison(**options), list(trials) or [Trial(small_experiment(), control)], folder / "runs", **more)
