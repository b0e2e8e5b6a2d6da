"""The address of this machine that others can be told."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final

# Addresses for documentation (RFC 5737, RFC 3849): nobody has them, so that the default route leads there.
_ELSEWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_ITSELF: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def is_every_address(host: str) -> bool:
    """Whether a socket bound to this address takes what comes to any address of this machine."""
    return ip_address(host.partition("%")[0]).is_unspecified


def own_address(host: str) -> str:
    """Where a server bound to `host` is reached: `host`, or for all addresses the one others see."""
    if not is_every_address(host):
        return host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))  # chooses a route and sends nothing
            return str(probe.getsockname()[0])
    except OSError:
        return _ITSELF[family]
