"""The transforms by name: those that a config may choose, and those that a saved encoder may contain."""

from typing import Literal

from aepretrain.data.rank_gauss import RankGauss
from aepretrain.data.table_transform import TableTransform
from aepretrain.data.transforms import MinMax, NoTransform, Scale, Standardize, Transform
from aepretrain.errors import ConfigError

TransformName = Literal["none", "standardize", "minmax", "rank_gauss"]
"""Names of the transforms in a config."""
NAMED: dict[str, type[Transform]] = {
    "none": NoTransform,
    "standardize": Standardize,
    "minmax": MinMax,
    "rank_gauss": RankGauss,
}
TRANSFORMS: dict[str, type[Transform]] = {
    cls.__name__: cls for cls in (NoTransform, Scale, Standardize, MinMax, RankGauss, TableTransform)
}
"""The transforms that a saved encoder may contain."""


def make_transform(name: str) -> Transform:
    """The transform that a config names, not fitted yet.

    Raises:
        ConfigError: If no transform has this name.

    Example:
        >>> make_transform("standardize").is_fitted
        False
    """
    if name not in NAMED:
        raise ConfigError(f"data.transform must be one of {', '.join(NAMED)}, but is {name!r}.")
    return NAMED[name]()
