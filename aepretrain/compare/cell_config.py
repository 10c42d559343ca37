"""The config of one cell of a comparison, for ``aepretrain fit --config``."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from aepretrain.compare.arms import Arm
from aepretrain.storage.files import write_atomically

NOT_OF_A_RUN = ("compare", "control")


def cell_config(
    config: Mapping[str, Any],
    arm: Arm,
    seed: int,
    labels: int | None,
    settings: Mapping[str, Any],
    *,
    split_seed: int | None = None,
) -> dict[str, Any]:
    """The comparison's config with the settings of a cell: network, seed, division, label budget, chosen settings.

    Example:
        >>> config = {"seed": 0, "classifier": {"dropout": 0.0}, "data": {"init_args": {}}, "compare": {}}
        >>> cell_config(config, Arm(), 3, 50, {"classifier.dropout": 0.5})["classifier"]
        {'dropout': 0.5}
    """
    own = copy.deepcopy({name: value for name, value in config.items() if name not in NOT_OF_A_RUN})
    if arm.control:
        own.update(copy.deepcopy(dict(config["control"])))
    own["seed"] = seed
    own["data"]["init_args"]["labels"] = labels
    if split_seed is not None:
        own["data"]["init_args"]["split_seed"] = split_seed
    for name, value in settings.items():
        *path, last = name.split(".")
        place = own
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return own


def write_cell_config(folder: Path, comment: str, config: Mapping[str, Any]) -> None:
    """Write ``config.yaml`` of a cell; ``comment`` is its first line."""
    text = f"# {comment}\n{yaml.safe_dump(dict(config), sort_keys=False)}"
    write_atomically(folder / "config.yaml", text.encode())
