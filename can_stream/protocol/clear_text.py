"""Whether what is sent to an address can be read on the way: the one rule of both programs."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

_ENCRYPTED: Final = frozenset({"https", "wss"})


def is_this_machine(host: str) -> bool:
    """Whether `host` is 127.0.0.0/8, ::1 or localhost, so that nothing sent there crosses a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_clear_text(url: str) -> bool:
    """Whether a token sent to `url`, which is one, can be read by others."""
    parts = urlsplit(url)
    return parts.scheme not in _ENCRYPTED and not is_this_machine(parts.hostname or "")
