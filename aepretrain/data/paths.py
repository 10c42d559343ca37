"""Paths that a user names: ``~`` is expanded, and a source's own are found by their type."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as a user names it, with ``~`` expanded. An unknown user, as in ``~nobody/x``, stays as it is.

    Example:
        >>> user_path("~/x") == Path.home() / "x", str(user_path("runs/a"))
        (True, 'runs/a')
    """
    return Path(os.path.expanduser(path))


def absolute(value: Any) -> Any:
    """A path, or a list of paths, as text that is valid in any folder; ``None`` stays ``None``.

    Example:
        >>> absolute(None), absolute(["/data/x.npy"])
        (None, ['/data/x.npy'])
    """
    if isinstance(value, str | os.PathLike):
        return str(user_path(value).absolute())
    return [absolute(each) for each in value] if isinstance(value, list | tuple) else value


def path_settings(source: Callable[..., Any]) -> list[str]:
    """The settings of a data source that are paths: those whose type is or holds :class:`pathlib.Path`.

    Args:
        source: The class of the source.

    Example:
        >>> from aepretrain import ImageFolder, MappedArray
        >>> path_settings(MappedArray), path_settings(ImageFolder)
        (['x', 'y', 'more_inputs', 'groups', 'times', 'splits'], ['root', 'more_inputs', 'cache'])
    """
    found: list[str] = []
    for ancestor in getattr(source, "__mro__", (source,)):
        hints = get_type_hints(vars(ancestor)["__init__"]) if "__init__" in vars(ancestor) else {}
        found += [name for name, kind in hints.items() if _holds_path(kind) and name not in found]
    return found


def _holds_path(kind: Any) -> bool:
    if isinstance(kind, type) and issubclass(kind, os.PathLike):
        return True
    return any(_holds_path(inner) for inner in get_args(kind))
