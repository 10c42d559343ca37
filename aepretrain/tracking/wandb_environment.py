"""The environment of a run in Weights & Biases: its variables where settings say nothing, timeouts and folders."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aepretrain.tracking.options import WandbOptions

OF_ONE_RUN = ("WANDB_NAME", "WANDB_RUN_ID")
"""Variables that would give all runs of a comparison one name or one id."""
TIMEOUTS = {"init_timeout": 20.0, "finish_timeout": 60.0}
"""Default timeouts in seconds; ``WANDB_INIT_TIMEOUT`` and ``WANDB_FINISH_TIMEOUT`` override them."""
# Command line, environment, host, code and packages may hold secrets; the console output is in train.log.
SETTINGS: dict[str, Any] = {
    "silent": True,
    "program": "aepretrain",
    "host": "",
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "finish_timeout_raises": True,
}


def with_environment(options: WandbOptions, environment: Mapping[str, str], *, single: bool) -> WandbOptions:
    """The options completed by ``WANDB_NAME``, ``WANDB_RUN_GROUP`` and ``WANDB_TAGS``; settings take precedence.

    Args:
        options: The settings; their tags are kept beside those of the environment.
        environment: The environment variables.
        single: Whether it is the run of ``fit``, which alone may have a name of its own.

    Example:
        >>> found = with_environment(WandbOptions(tags=["a"]), {"WANDB_NAME": "x", "WANDB_TAGS": "b, a"}, single=True)
        >>> found.name, found.tags
        ('x', ['a', 'b'])
    """
    tags = [tag.strip() for tag in environment.get("WANDB_TAGS", "").split(",") if tag.strip()]
    return replace(
        options,
        name=options.name or (environment.get("WANDB_NAME") if single else None) or None,
        group=options.group or environment.get("WANDB_RUN_GROUP") or None,
        tags=list(dict.fromkeys([*options.tags, *tags])),
    )


def wandb_folder(folder: Path) -> Path:
    """The folder that holds the files of a run: ``wandb`` in ``WANDB_DIR``, or else in the run directory.

    Example:
        >>> wandb_folder(Path("/runs/a")).name
        'wandb'
    """
    named = os.environ.get("WANDB_DIR")
    return (Path(os.path.expanduser(named)) if named else folder).absolute() / "wandb"


def ignored_by_comparisons(environment: Mapping[str, str]) -> str | None:
    """A sentence on the variables that a comparison cannot follow; ``None`` if there are none.

    Example:
        >>> ignored_by_comparisons({"WANDB_NAME": "x"})
        'WANDB_NAME is of one run, and a comparison has many: it is ignored. Set wandb.group, or WANDB_RUN_GROUP.'
    """
    found = [name for name in OF_ONE_RUN if environment.get(name)]
    if not found:
        return None
    are, they = ("is", "it is") if len(found) == 1 else ("are", "they are")
    return (
        f"{' and '.join(found)} {are} of one run, and a comparison has many: {they} ignored. Set wandb.group, or "
        "WANDB_RUN_GROUP."
    )


def run_settings() -> dict[str, Any]:
    """The settings of a run: what is not stored, and the timeouts that the environment does not set.

    Example:
        >>> run_settings()["console"]
        'off'
    """
    return SETTINGS | {name: value for name, value in TIMEOUTS.items() if f"WANDB_{name.upper()}" not in os.environ}


@contextlib.contextmanager
def files_below(folder: Path) -> Iterator[None]:
    """Keep the data and cache files of Weights & Biases below this folder, unless the user set another one.

    Example:
        >>> with files_below(Path("/runs/a/wandb")):
        ...     os.environ["WANDB_CACHE_DIR"]
        '/runs/a/wandb/cache'
    """
    places = {"WANDB_DATA_DIR": folder / "data", "WANDB_CACHE_DIR": folder / "cache"}
    ours = {name: str(place) for name, place in places.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
