"""Loads what commands need, for programs that fork for every command: see killing.py and full_disk.py."""

import contextlib
import importlib
import io
import pkgutil
from pathlib import Path

import aepretrain

ROOT = Path(__file__).parents[2]


def load_everything():
    """Import all modules of the package, and what they import late: 0.5 s of every forked command."""
    for module in pkgutil.walk_packages(aepretrain.__path__, "aepretrain."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "matplotlib.pyplot"):
        importlib.import_module(name)
    validate = importlib.import_module("aepretrain.cli.verbs.validate")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        validate.run(["--config", str(ROOT / "configs" / "digits.yaml")])
