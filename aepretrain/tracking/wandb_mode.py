"""Choose online or offline before Weights & Biases starts: it retries an unreachable server for minutes."""

import netrc
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

from aepretrain.console import print_line
from aepretrain.processes import is_first_process
from aepretrain.tracking.options import Tracking
from aepretrain.tracking.wandb_environment import ignored_by_comparisons, with_environment

Mode = Literal["online", "offline", "disabled"]
MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
"""The mode for each accepted value of ``WANDB_MODE``."""
SERVER_SECONDS = 3.0


def decide_mode(
    asked: str, environment: Mapping[str, str], offline_reason: Callable[[], str | None]
) -> tuple[Mode, str | None]:
    """The mode of a run, which is the setting, else ``WANDB_MODE``, else online, and why it is offline unasked.

    Args:
        asked: The setting ``wandb.mode``.
        environment: The environment variables.
        offline_reason: Returns the reason why online is not possible, or ``None``; called only if online is requested.

    Example:
        >>> decide_mode("auto", {"WANDB_MODE": "offline"}, lambda: None)
        ('offline', None)
        >>> decide_mode("auto", {}, lambda: "there is no key")
        ('offline', 'there is no key')
    """
    wanted = MODES.get(environment.get("WANDB_MODE", "").lower(), "online") if asked == "auto" else MODES[asked]
    obstacle = offline_reason() if wanted == "online" else None
    return (wanted, None) if obstacle is None else ("offline", obstacle)


def resolve_mode(tracking: Tracking) -> Tracking:
    """The tracking options of a comparison with mode and environment resolved, so that its runs do not repeat it."""
    if "wandb" not in tracking.loggers or not is_first_process():
        return tracking
    mode = decided_mode(tracking.wandb.mode)
    if mode != "disabled" and (ignored := ignored_by_comparisons(os.environ)) is not None:
        print_line(f"warning: {ignored}")
    return replace(tracking, wandb=replace(with_environment(tracking.wandb, os.environ, single=False), mode=mode))


def decided_mode(asked: str) -> Mode:
    """Choose the mode of a run in this environment; if it falls back to offline, print the reason."""
    mode, reason = decide_mode(asked, os.environ, offline_reason)
    if reason is not None:
        print_line(f"W&B: offline, because {reason}")
    return mode


def offline_reason() -> str | None:
    """The reason why online is not possible: no API key or no answer from the server; ``None`` if it is possible."""
    # Unlike wandb.setup(), this reads the settings and starts no process.
    from wandb.sdk.wandb_setup import singleton

    settings = singleton().settings
    if not has_key(settings):
        return "there is no API key (wandb login stores one)"
    if not server_answers(settings.base_url):
        return f"{settings.base_url} did not answer within {SERVER_SECONDS:.0f} s"
    return None


def has_key(settings: Any) -> bool:
    """Whether the settings of Weights & Biases hold an API key or identity token, or netrc has its host."""
    if settings.api_key or settings.identity_token_file:
        return True
    try:
        entries = netrc.netrc(os.environ.get("NETRC"))
        return entries.authenticators(urlsplit(settings.base_url).netloc) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def server_answers(url: str, seconds: float = SERVER_SECONDS) -> bool:
    """Whether a server sends any response at a URL, through a proxy if one is set.

    Args:
        url: The URL; ``http`` or ``https``.
        seconds: Timeout, including the name lookup.
    """
    answers: list[bool] = []
    # Only a separate thread bounds the time of the name lookup.
    thread = threading.Thread(target=lambda: answers.append(_ask(url, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers == [True]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def _ask(url: str, seconds: float) -> bool:
    try:
        urllib.request.build_opener(_NoRedirect).open(url, timeout=seconds).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True
