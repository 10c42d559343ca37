"""Plain values: numbers, strings, lists, dictionaries and tensors, which load without running code."""

from typing import Any

from torch import Tensor

from aepretrain.errors import ConfigError


def plain(value: Any, place: str) -> Any:
    """Convert a value to dictionaries, lists, tuples, numbers, strings, bytes, ``None`` and tensors only.

    Raises:
        ConfigError: If it holds anything else, which could not be loaded without running code.

    Example:
        >>> import numpy as np
        >>> plain({"lr": np.float64(0.1), "shape": torch.Size([2])}, "state")
        {'lr': 0.1, 'shape': (2,)}
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, dict):
        return {plain(key, place): plain(entry, f"{place}.{key}") for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry, place) for entry in value]
    if isinstance(value, tuple):
        return tuple(plain(entry, place) for entry in value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if value is None or isinstance(value, bytes):
        return value
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "size", 0) == 1:
        return value.item()
    raise ConfigError(
        f"{place} is a {type(value).__name__}, and checkpoints hold plain values only: numbers, words, lists, "
        "dictionaries, tensors. Use another scheduler or callback, or give it a state_dict of plain values."
    )
