"""Options that select and configure the loggers of a run."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aepretrain.errors import ConfigError

LoggerName = Literal["wandb", "tensorboard", "csv"]
# The package that a logger needs besides the core dependencies, and the extra that installs it.
NEEDS = {"tensorboard": ("tensorboard", "tensorboard")}
REPORT_NEEDS = ("wandb_workspaces", "wandb-report")


@dataclass(frozen=True)
class WandbOptions:
    """How runs appear in Weights & Biases. The API key comes from ``wandb login`` or the environment only.

    Args:
        mode: ``auto`` follows ``WANDB_MODE``, or is ``online`` if unset. ``online`` falls back to offline if there is
            no API key or the server does not answer. ``offline`` needs no account, ``disabled`` writes nothing.
        project: The project; ``WANDB_PROJECT`` replaces the default. A sweep sets its own.
        entity: The user or team; ``null``: the default entity of the API key.
        group: Group of the runs; ``null``: ``WANDB_RUN_GROUP``, or else the directory's name for a comparison, and none
            for a single run.
        name: Name of the run of ``fit``; ``null``: ``WANDB_NAME``, or else its directory's name. Cells are named by
            arm, labels and seed.
        tags: Tags of every run, in addition to those of ``WANDB_TAGS`` and of a comparison.
        report: Build a report of panels and tables on the server if runs are online.
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
    """The loggers of a run, in addition to ``metrics.jsonl``, which is always written.

    Args:
        loggers: Any of ``wandb``, ``tensorboard``, ``csv``.
        wandb: How runs appear in Weights & Biases.
        config: The settings shown in Weights & Biases; values whose keys look like secrets are redacted.

    Example:
        >>> Tracking(["csv"]).check()
        >>> "wandb" in Tracking().loggers
        True
    """

    loggers: Sequence[LoggerName] = ("wandb",)
    wandb: WandbOptions = WandbOptions()
    config: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Check that the packages required by the loggers are installed.

        Raises:
            ConfigError: If a package is missing.
        """
        for name in self.loggers:
            if name in NEEDS:
                _require(f"the logger {name}", *NEEDS[name])
        if self.wandb.report:
            _require("wandb.report", *REPORT_NEEDS)


def _require(what: str, package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{what} needs the package {package}. Install it by: pip install 'aepretrain[{extra}]'")
