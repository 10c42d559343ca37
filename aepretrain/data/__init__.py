"""Data sources, one file each, and the batches made from them.

To add a source, write a file with a :class:`DataModule` that implements ``load``, and add its name to the lists in
``sources.py`` and ``aepretrain/__init__.py``. Sources are imported on first access, so loading an encoder imports none.
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
