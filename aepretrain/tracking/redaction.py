"""Redact secrets before settings are logged."""

import re
from typing import Any

SECRET = re.compile("key|token|secret|password|credential", re.IGNORECASE)
REDACTED = "(redacted)"


def redact(value: Any) -> Any:
    """Return nested settings with the values of keys that name a secret redacted.

    Example:
        >>> redact({"data": {"root": "here", "api_token": "abc", "credentials": "x"}, "seed": 0})
        {'data': {'root': 'here', 'api_token': '(redacted)', 'credentials': '(redacted)'}, 'seed': 0}
    """
    if isinstance(value, dict):
        return {name: REDACTED if SECRET.search(str(name)) else redact(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redact(entry) for entry in value]
    return value
