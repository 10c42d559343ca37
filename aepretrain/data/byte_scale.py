"""Whether bytes are divided by 255: one rule for all arrays."""

from typing import Literal

from aepretrain.data.named_transforms import TransformName, make_transform
from aepretrain.data.origin import Origin
from aepretrain.data.transforms import NoTransform, Scale, Transform
from aepretrain.errors import ConfigError

ScaleName = Literal["auto", "none", "byte"]
"""What a config may say on the division of values by 255."""
COUNTS = 64
"""Bytes that are all below this number look like counts; pixels reach beyond."""


def choose_transform(
    transform: TransformName, scale: ScaleName, largest: int | None, origin: Origin
) -> tuple[Transform, list[str], list[str]]:
    """The transform of an array, and what is to be said of it.

    Args:
        transform: none, standardize or minmax.
        scale: ``byte``: divide all values by 255; ``none``: do not; ``auto``: divide bytes of which one is 64 or more,
            unless they are scaled by ``transform``.
        largest: The largest value of an array of bytes, or any value of 64 or more; ``None``: values of another type.
        origin: Where the array comes from.

    Returns:
        The transform, notes and warnings.

    Raises:
        ConfigError: If ``scale`` has no such value, or both settings ask for scaling.

    Example:
        >>> choose_transform("none", "auto", 255, Origin("x.npy"))
        (Scale(divide_by=255.0), ['x.npy holds bytes of 64 and more, which are divided by 255.'], [])
        >>> choose_transform("none", "auto", 1, Origin("x.npy"))
        (NoTransform(), ['x.npy holds bytes up to 1, which are taken as they are.'], [])
    """
    if scale not in ("auto", "none", "byte"):
        raise ConfigError(f"data.scale must be one of auto, none, byte, but is {scale!r}.")
    if scale == "byte" and transform != "none":
        raise ConfigError(f"data.scale byte and data.transform {transform} both scale the data. Leave one of them out.")
    if scale == "byte":
        return Scale(255), [f"all values of {origin.name} are divided by 255, as data.scale byte says."], []
    if scale == "none":
        notes = [f"values of {origin.name} are not divided by 255, as data.scale none says."]
        return make_transform(transform), notes, []
    if transform != "none" or largest is None:
        return make_transform(transform), [], []
    if largest >= COUNTS:
        return Scale(255), [f"{origin.name} holds bytes of {COUNTS} and more, which are divided by 255."], []
    notes = [f"{origin.name} holds bytes up to {largest}, which are taken as they are."]
    if largest <= 1:
        return NoTransform(), notes, []
    return (
        NoTransform(),
        notes,
        [
            f"the bytes of {origin.name} reach only {largest}, so they are taken as counts and not divided by 255. If "
            "they are pixels, set data.scale byte; if they are counts, data.scale none."
        ],
    )
