"""Memory sizes as text, such as 2GB, and the memory that is free."""

import os
import re
from pathlib import Path

from aepretrain.errors import ConfigError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_budget(words: str | int | None) -> int | None:
    """A memory budget in bytes; ``None`` is no limit.

    Raises:
        ConfigError: If the budget is not a positive number with an optional unit.

    Example:
        >>> parse_budget("2GB"), parse_budget("1.5 MiB"), parse_budget(4096), parse_budget(None)
        (2000000000, 1572864, 4096, None)
    """
    if words is None:
        return None
    found = re.fullmatch(r"([\d_]+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)", str(words).strip(), re.IGNORECASE)
    unit = UNITS.get(found[2].upper()) if found else None
    if not found or unit is None or int(float(found[1]) * unit) < 1:
        raise ConfigError(
            f"data.memory_budget must be a positive size such as 500MB, 2GB or a number of bytes, but is {words!r}. "
            "Leave it out for no limit."
        )
    return int(float(found[1]) * unit)


def format_bytes(count: float) -> str:
    """A number of bytes as text with a decimal unit.

    Example:
        >>> format_bytes(188_160_000)
        '188 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def check_held_out(needed: int, limit: int) -> None:
    """Raise a ConfigError if validation and test inputs, which stay in memory, take more than half of a budget.

    Args:
        needed: Their size in bytes.
        limit: The budget in bytes.
    """
    if needed > limit // 2:
        raise ConfigError(
            f"data.memory_budget of {format_bytes(limit)} is too small: validation and test inputs "
            f"need {format_bytes(needed)}, and may take half of it. Raise it, or lower data.validation and "
            "data.test."
        )


def available_memory() -> int:
    """Bytes of memory that a program may still take: on Linux what is free or can be freed, elsewhere all."""
    facts = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s*(\d+) kB", facts.read_text()) if facts.is_file() else None
    return int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
