"""Why a connection to the server could not be opened or is over, in words that say what to do."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import time
from typing import Final

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)

from can_stream.protocol.control import Error
from edge_agent.config.server_url import is_loopback
from edge_agent.host.network_watch import has_default_route
from edge_agent.uplink.http_answer import HttpAnswer, parse_answer
from edge_agent.uplink.obstacle import (
    REFUSALS,
    Obstacle,
    Way,
    by_answer,
    by_certificate,
    by_proxy_answer,
    by_server_error,
    obstacle,
)

OPEN_TIMEOUT_SECONDS: Final = 20.0
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_CUT: Final = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
_NO_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
# asyncio joins the errors of several addresses to one text, without a number of its own.
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
_TLS_ALERT: Final = b"\x15\x03"
_NO_TLS: Final = frozenset(
    {
        "HTTPS_PROXY_REQUEST",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)


class LostError(Exception):
    """This connection is over: `reason`, and a `fault` for programs.

    `refused` when trying again soon cannot help; `at_once` when there may be another way already.
    """

    def __init__(self, reason: str, *, fault: str = "disconnected", at_once: bool = False) -> None:
        self.reason = reason
        self.fault = fault
        self.at_once = at_once
        super().__init__(reason)

    @property
    def refused(self) -> bool:
        """Whether only a person can help."""
        return self.fault in REFUSALS


def lost_by(seen: Obstacle) -> LostError:
    """It is in the way."""
    return LostError(seen.text, fault=seen.fault)


def lost_by_error(way: Way, error: Error) -> LostError:
    """It said over the connection what it does not like."""
    seen = by_server_error(way, error.code, error.message)
    if seen is not None:
        return lost_by(seen)
    return LostError(f"the server says {error.code}: {error.message}", fault="server_error")


def lost_by_closing(closed: ConnectionClosed) -> LostError:
    """One side closed it, or it broke."""
    reason = closed.rcvd.reason if closed.rcvd is not None else ""
    return LostError(f"the connection is lost ({reason or closed})")


def obstacle_of(way: Way, error: BaseException, heard: bytes = b"", seconds: float = 0.0) -> Obstacle:
    """What an attempt to open a connection that failed by `error` within `seconds` has met.

    `heard`: what the other side said where that could not be read.
    """
    match error:
        case InvalidStatus() | InvalidProxyStatus():
            return _by_status(way, error)
        case InvalidProxyMessage() | ProxyError():
            return obstacle(way, "proxy_silent", _words(error.__cause__ or error))
        case ssl.SSLError():
            return _by_tls(way, error)
        case OSError():
            return obstacle(way, _network_name(way, error), _network_words(error, seconds))
        case InvalidHandshake() | WebSocketException():
            return _by_bytes(way, error, heard)
    # ImportError for a SOCKS proxy, ValueError for what is no proxy's address.
    return obstacle(way, "proxy_unusable" if way.proxy else "unreachable", _words(error))


def _by_status(way: Way, error: InvalidStatus | InvalidProxyStatus) -> Obstacle:
    response = error.response
    if isinstance(error, InvalidProxyStatus):
        return by_proxy_answer(way, response.status_code)
    headers, body = response.headers, bytes(response.body or b"")
    answer = HttpAnswer(
        response.status_code,
        location=headers.get("Location", ""),
        content_type=headers.get("Content-Type", ""),
        body=body,
    )
    return by_answer(way, answer)


def _by_bytes(way: Way, error: Exception, heard: bytes) -> Obstacle:
    """It spoke, but not as a WebSocket does."""
    answer = parse_answer(heard)
    if answer is not None and answer.status != 101:
        return by_answer(way, answer)
    if heard.startswith(_TLS_ALERT):
        return obstacle(way, "tls_port", "it answers in TLS")
    if not heard:
        return obstacle(way, "mute", "it closes the connection")
    return obstacle(
        way, "no_websocket" if answer else "not_a_stream_server", _words(error.__cause__ or error)
    )


def _by_tls(way: Way, error: ssl.SSLError) -> Obstacle:
    if isinstance(error, ssl.SSLCertVerificationError):
        today = time.strftime("%Y-%m-%d", time.gmtime())
        return by_certificate(way, error.verify_code, error.verify_message, today)
    if error.reason in _NO_TLS:
        return obstacle(way, "clear_port", "it answers in clear text")
    return obstacle(way, "tls_cut", error.reason or error.strerror or str(error))


def _network_name(way: Way, error: OSError) -> str:
    number, is_local = _number(error), is_loopback(way.proxy or way.url)
    has_no_name = isinstance(error, socket.gaierror)
    if not is_local and (number in _NO_ROUTE or (has_no_name and not has_default_route())):
        return "no_network"
    if isinstance(error, TimeoutError):
        return "proxy_silent" if way.proxy else "silent"
    if way.proxy:
        return "proxy_unreachable"
    if has_no_name:
        return "name_unknown" if error.errno in _NO_NAME else "no_name_server"
    if isinstance(error, _CUT):
        return "tls_cut" if way.is_secure else "mute"
    return "unreachable"


def _network_words(error: OSError, seconds: float) -> str:
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {seconds:g} s"
    return _words(error)


def _number(error: OSError) -> int | None:
    """The one that says most: that there is no route for one family says nothing of the other."""
    if error.errno is not None:
        return error.errno
    numbers = [int(number) for number in _ERRNO.findall(str(error))]
    return next((one for one in numbers if one not in _NO_ROUTE), numbers[0] if numbers else None)


def _words(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    if isinstance(error, OSError) and (number := _number(error)) is not None:
        return os.strerror(number)  # asyncio's own text is of less use
    if isinstance(error, _CUT):
        return "it closes the connection"
    return str(error) or type(error).__name__
