"""Small data files of one's own, and the config of a run on them: for tests of data that change."""

import numpy as np
import yaml

Y = np.arange(200) % 3
X = (np.random.default_rng(0).normal(size=(200, 5)) + Y[:, None]).astype(np.float32)


def save(folder, x=X, y=Y):
    """Write ``x.npy`` and ``y.npy``."""
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)


def changed(values, place, value):
    """A copy with another value at one place."""
    values = values.copy()
    values[place] = value
    return values


def write_config(folder, data=None, **changes):
    """A config of a run on the arrays of a folder."""
    files = {"x": str(folder / "x.npy"), "y": str(folder / "y.npy"), "validation": 40, "test": 40}
    layer = {"coder": {"class_path": "Dense", "init_args": {"features": 4}}}
    values = {
        "layers": [{"class_path": "PlainAutoencoder", "init_args": layer}] * 2,
        "data": {"class_path": "MappedArray", "init_args": files} if data is None else data,
        "pretrain": {"epochs": 3},
        "finetune": {"epochs": 5},
        "report": False,
        "loggers": [],
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
