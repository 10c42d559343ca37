"""The allow list of imports for configs, which only the command line can extend.

A class named in a YAML file is imported, and importing runs code. An untrusted config must not be able to do more than
combine known classes.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

from jsonargparse import set_parsing_settings

from aepretrain import __all__ as NAMES
from aepretrain.errors import ConfigError

ALLOWED = (
    "aepretrain.layers",
    "aepretrain.heads",
    "aepretrain.compare",
    "aepretrain.data",
    "aepretrain.parts",
    "aepretrain.tracking",
    "aepretrain.training",
    "lightning.pytorch.callbacks",
    "torch.nn",
    "torch.optim",
    "torchvision.datasets",
    "torchvision.transforms",
)
"""Packages whose classes a config may name."""


_trusted: list[str] = []
"""The packages that the current command trusts."""


def trust(names: Sequence[str]) -> None:
    """Let configs of this command import from further packages, which may lie in the current folder.

    Args:
        names: Names of packages or modules, as in ``import NAME``.

    Raises:
        ConfigError: If a name is not an import path, or there is no such module.

    Example:
        >>> trust(["json"])
        >>> trusted_words()
        ['--trust-module', 'json']
        >>> trust([])
    """
    for name in names:
        _check_name(name)
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that no file of the folder replaces an installed module
    for name in names:
        _import(name)
    outdated = [name for name in _trusted if name not in names]
    if outdated:
        set_parsing_settings(import_path_denylist=outdated)
    _trusted[:] = names


def trusted_words() -> list[str]:
    """The arguments that make another command trust the same packages."""
    return [word for name in _trusted for word in ("--trust-module", name)]


def _check_name(name: str) -> None:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"--trust-module takes the name of a package, as in import NAME, but got {name!r}.")
    if name.endswith(".py"):
        raise ConfigError(
            f"--trust-module takes the name of a module without its ending, but got {name}. Name it by --trust-module "
            f"{name.removesuffix('.py')}."
        )


def _import(name: str) -> None:
    """Import a trusted module now, so that its faults are not told as those of a config."""
    try:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"--trust-module {name}: there is no module {name}, neither in the current folder, {os.getcwd()}, nor "
                f"installed. Run the command in the folder of {name.split('.')[0]}.py, or install it."
            )
        importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:  # code of somebody else, which may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        raise ConfigError(f"--trust-module {name} cannot be imported: {reason}. Mend or install it.") from error


def confine_imports() -> None:
    """Restrict configs to imports from the allow list and from the packages that the command trusts.

    Example:
        >>> confine_imports()
    """
    set_parsing_settings(
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED, *(f"aepretrain.{name}" for name in NAMES), *_trusted],
    )
