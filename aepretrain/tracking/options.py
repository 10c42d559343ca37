"""Where figures go, as a config says it."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aepretrain.errors import ConfigError

LoggerName = Literal["wandb", "tensorboard", "csv"]
# The package that a logger needs beside the core dependencies, and the extra that brings it.
NEEDS = {"tensorboard": ("tensorboard", "tensorboard")}
REPORT_NEEDS = ("wandb_workspaces", "wandb-report")


@dataclass(frozen=True)
class WandbOptions:
    """How runs appear in Weights & Biases. The key comes from ``wandb login`` or the environment, never from here.

    Args:
        mode: ``auto`` obeys ``WANDB_MODE``, and else is online where a key is at hand and the server answers; where it
            does not, also ``online`` goes on offline. ``offline`` needs no account, ``disabled`` writes nothing.
        project: The project; where this is left as it is, ``WANDB_PROJECT`` decides. A sweep has its own.
        entity: The user or team; ``null`` is the key's own.
        group: Joins runs; ``null`` is the directory's name for a comparison, and none for a single run.
        name: Name of the run of ``fit``; ``null`` is its directory's. Cells are named by arm, labels and seed.
        tags: Tags of every run, beside those that a comparison gives.
        report: Build a report of panels and tables on the server, where runs are online.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "aepretrain"
    entity: str | None = None
    group: str | None = None
    name: str | None = None
    tags: Sequence[str] = ()
    report: bool = False


@dataclass(frozen=True)
class Tracking:
    """Which loggers follow a run, beside ``metrics.jsonl``, which is always written.

    Args:
        loggers: Any of ``wandb``, ``tensorboard``, ``csv``.
        wandb: How runs appear in Weights & Biases.
        config: The settings that Weights & Biases shows; what looks like a secret is left out.

    Example:
        >>> Tracking(["csv"]).check()
        >>> "wandb" in Tracking().loggers
        True
    """

    loggers: Sequence[LoggerName] = ("wandb",)
    wandb: WandbOptions = WandbOptions()
    config: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """See that what the loggers need is installed.

        Raises:
            ConfigError: If it is not.
        """
        for name in self.loggers:
            if name in NEEDS:
                _require(f"the logger {name}", *NEEDS[name])
        if self.wandb.report:
            _require("wandb.report", *REPORT_NEEDS)


def _require(what: str, package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{what} needs the package {package}. Install it by: pip install 'aepretrain[{extra}]'")
