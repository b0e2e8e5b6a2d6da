"""Why a connection to the server could not be opened or is over, in words that say what to do."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidStatus

from can_stream.protocol.control import Error

OPEN_TIMEOUT_SECONDS: Final = 20.0
_REFUSALS: Final = frozenset({"UNAUTHENTICATED", "FORBIDDEN", "AGENT_MISMATCH", "DONGLE_CONFLICT"})


class LostError(Exception):
    """This connection is over: `reason`; `refused` when trying again soon cannot help."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        self.reason = reason
        self.refused = refused
        super().__init__(reason)


def lost_unopened(url: str, error: Exception) -> LostError:
    """There was no way to the server, or it is not the one that was meant."""
    return LostError(f"{url} cannot be reached ({_reason(error)})")


def lost_by_answer(url: str, answer: InvalidStatus) -> LostError:
    """It answered over HTTP, with something else than a WebSocket."""
    status = answer.response.status_code
    if status in (401, 403):
        return LostError(
            f"{url} refuses this agent's token (HTTP {status}); enrol it again with `edge-agent enroll`",
            refused=True,
        )
    return LostError(f"{url} answered HTTP {status} instead of opening a WebSocket")


def lost_by_error(error: Error) -> LostError:
    """It said over the connection what it does not like."""
    return LostError(f"the server says {error.code}: {error.message}", refused=error.code in _REFUSALS)


def lost_by_closing(closed: ConnectionClosed) -> LostError:
    """One side closed it, or it broke."""
    reason = closed.rcvd.reason if closed.rcvd is not None else ""
    return LostError(f"the connection is lost ({reason or _reason(closed)})")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_TIMEOUT_SECONDS:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; see `server.ca_file`"
    if isinstance(error, ssl.SSLError | socket.gaierror):
        return error.strerror or str(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text is of less use
    return str(error) or type(error).__name__
