"""The allow list of imports for configs, which only the command line can extend.

A class named in a YAML file is imported, and importing runs code. An untrusted config must not be able to do more than
combine known classes.
"""

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


def confine_imports(trusted: Sequence[str] = ()) -> None:
    """Restrict configs to imports from the allow list and from packages trusted on the command line.

    Args:
        trusted: Names of further packages or modules, as in ``import NAME``.

    Raises:
        ConfigError: If a name is not an import path.

    Example:
        >>> confine_imports(["my_layers"])
    """
    for name in trusted:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(f"--trust-module takes the name of a package, as in import NAME, but got {name!r}.")
    set_parsing_settings(
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED, *(f"aepretrain.{name}" for name in NAMES), *trusted],
    )
