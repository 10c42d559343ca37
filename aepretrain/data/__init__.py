"""Data sources, one file each, and the batches that are made of them.

To add one: a file with a :class:`DataModule` that fills in ``load``, and its name in the list of ``sources.py`` and in
that of ``aepretrain/__init__.py``. The sources are imported when one is asked for: who loads an encoder needs none.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aepretrain.data.sources import *  # noqa: F403


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        sources = importlib.import_module("aepretrain.data.sources")
        if name in sources.__all__:
            return getattr(sources, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
