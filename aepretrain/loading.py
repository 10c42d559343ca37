"""Loading the package into a process of its own: the command, and the workers of a comparison."""

import gc
import importlib
from types import ModuleType


def load(name: str) -> ModuleType:
    """Import a module and all that it needs, without the garbage collector.

    Modules are no garbage, but the collector looks for it among them again and again, which takes a fifth of the time
    of the imports. Afterwards it leaves alone what was there, so this is not for a process that others share.

    Example:
        >>> load("aepretrain.errors").__name__
        'aepretrain.errors'
    """
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()
