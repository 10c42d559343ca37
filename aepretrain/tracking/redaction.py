"""The one rule for secrets: what is logged, reported or stored of settings and commands is redacted here."""

import re
from collections.abc import Sequence
from typing import Any

REDACTED = "(redacted)"
NAME = r"[\w.-]*(?:key|token|secret|passw(?:or)?d|credential)[\w.-]*"
"""What a name that suggests a secret looks like."""
NAMED = re.compile(NAME, re.IGNORECASE)
ACCOUNT = re.compile(r"(?<=://)[^/?#\s'\"]+(?=@)")
"""User and password in an address, up to the last ``@`` before the path."""
ASSIGNED = re.compile(
    rf"(?<![\w.-])(-*{NAME}[\"']?\s*(?:=|:(?!//))\s*)(\"[^\"]*\"|'[^']*'|(?!null\b)[^\s,&;}}\])'\"]+)", re.IGNORECASE
)
"""A name that suggests a secret, with its value: ``token=abc``, ``"key": "abc"``."""


def redact_text(text: str) -> str:
    """Redact user and password in addresses, and values assigned to names that suggest a secret.

    Example:
        >>> redact_text("https://user:abc@host/x?token=abc&page=2")
        'https://(redacted)@host/x?token=(redacted)&page=2'
    """
    return ASSIGNED.sub(rf"\g<1>{REDACTED}", ACCOUNT.sub(REDACTED, text))


def redact_strings(value: Any) -> Any:
    """Nested settings with :func:`redact_text` applied to all text, whatever its key.

    Example:
        >>> redact_strings({"root": ["https://user:abc@host"], "key": "features"})
        {'root': ['https://(redacted)@host'], 'key': 'features'}
    """
    if isinstance(value, dict):
        return {name: redact_strings(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redact_strings(entry) for entry in value]
    return redact_text(value) if isinstance(value, str) else value


def redact(value: Any) -> Any:
    """Nested settings as :func:`redact_strings`, with the values of keys that suggest a secret redacted, too.

    Example:
        >>> redact({"data": {"root": "here", "api_token": "abc", "credentials": "x"}, "seed": 0})
        {'data': {'root': 'here', 'api_token': '(redacted)', 'credentials': '(redacted)'}, 'seed': 0}
    """
    if isinstance(value, dict):
        hides = lambda name, entry: entry is not None and NAMED.search(str(name)) is not None  # noqa: E731
        return {name: REDACTED if hides(name, entry) else redact(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redact(entry) for entry in value]
    return redact_text(value) if isinstance(value, str) else value


def redact_words(words: Sequence[str]) -> list[str]:
    """The words of a command as :func:`redact_text`, with the values after options that suggest a secret redacted.

    Example:
        >>> redact_words(["fit", "--hub.token", "abc", "--data.password=x y", "--seed", "1"])
        ['fit', '--hub.token', '(redacted)', '--data.password=(redacted)', '--seed', '1']
    """
    shown: list[str] = []
    for word in words:
        if shown and re.fullmatch(f"--{NAME}", shown[-1], re.IGNORECASE) and not word.startswith("--"):
            shown.append(REDACTED)
        elif option := re.match(f"--{NAME}=", word, re.IGNORECASE):
            shown.append(f"{option[0]}{REDACTED}")
        else:
            shown.append(redact_text(word))
    return shown


def is_redacted(value: Any) -> bool:
    """Whether nested settings hold text in the place of a secret."""
    if isinstance(value, dict):
        return any(map(is_redacted, value.values()))
    if isinstance(value, list | tuple):
        return any(map(is_redacted, value))
    return isinstance(value, str) and REDACTED in value
