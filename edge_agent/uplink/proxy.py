"""Which proxy of the environment leads to a server, and how it is asked for a way."""

from __future__ import annotations

import base64
import urllib.request
from typing import Final
from urllib.parse import unquote, urlsplit

from edge_agent.config.server_url import is_loopback, is_secure

# As the WebSocket library chooses: what is for WebSockets, then a proxy for TLS, then one for clear text.
_FOR_TLS: Final = ("wss", "socks", "https")
_FOR_CLEAR_TEXT: Final = ("ws", "socks", "https", "http")


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a server, with its password; None for a direct way.

    A proxy is for the network: this machine itself is reached directly.
    """
    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or (443 if is_secure(url) else 80)}"
    if is_loopback(url) or urllib.request.proxy_bypass(place):
        return None
    proxies = urllib.request.getproxies()
    named = (proxies.get(name) for name in (_FOR_TLS if is_secure(url) else _FOR_CLEAR_TEXT))
    return next((proxy if "://" in proxy else f"http://{proxy}" for proxy in named if proxy), None)


def without_password(proxy: str | None) -> str | None:
    """A proxy as it may be said."""
    if proxy is None:
        return None
    parts = urlsplit(proxy)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def connect_request(proxy: str, host: str, port: int) -> bytes:
    """What asks an HTTP proxy for a way to `host` (RFC 9110, section 9.3.6)."""
    parts = urlsplit(proxy)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if parts.username is not None:
        name = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(name.encode()).decode()}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
