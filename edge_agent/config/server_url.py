"""The server's address as configured, and the WebSocket addresses that follow from it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from can_stream.protocol.clear_text import is_clear_text, is_this_machine

MAX_URL_LENGTH: Final = 2048
_SECURE: Final = {"http": False, "ws": False, "https": True, "wss": True}


def url_problem(url: str) -> str | None:
    """Why `url` cannot be the server's address; None where it can."""
    if len(url) > MAX_URL_LENGTH:
        return f"is longer than {MAX_URL_LENGTH} characters"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SECURE and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"is not a URL: {error}"
    if parts.username is not None or parts.password is not None:
        return "must not hold credentials: the agent's token belongs into `token_file`"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "must not have a query or a fragment"
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        return "must be like https://stream.example.com (http, https, ws or wss, and a host)"
    return None


def websocket_url(url: str, path: str) -> str:
    """`ws(s)://.../path` of a server `url` that has no problem, e.g. for `/ws/agent`."""
    return _at(url, path, "wss", "ws")


def http_url(url: str, path: str) -> str:
    """`http(s)://.../path` of a server `url` that has no problem, e.g. for `/api/v1/agents/register`."""
    return _at(url, path, "https", "http")


def is_secure(url: str) -> bool:
    """Whether what is sent to `url` is encrypted."""
    return _SECURE[urlsplit(url).scheme]


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine itself, so that nothing sent there crosses a network."""
    return is_this_machine(urlsplit(url).hostname or "")


def clear_text(url: str) -> str | None:
    """What is to be said where a token goes to `url` so that others can read it; None where they cannot.

    Every command and status says it so; to a `url` that is none nothing is sent.
    """
    if url_problem(url) is not None or not is_clear_text(url):
        return None
    return f"{url} is not encrypted: everyone on the way can read the token and all data"


def _at(url: str, path: str, secure: str, plain: str) -> str:
    parts = urlsplit(url)
    scheme = secure if _SECURE[parts.scheme] else plain
    return parts._replace(scheme=scheme, path=parts.path.rstrip("/") + path).geturl()
