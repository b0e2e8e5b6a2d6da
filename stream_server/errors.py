"""What goes wrong in the stream server.

ServerError
 +- StartError       the server or a command cannot start; the message says the remedy
 +- StorageError     the database refuses to write, or is damaged; nothing of the failed jobs is stored
 +- ApiError         a request cannot be served: HTTP status, code, message, details
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class ServerError(Exception):
    """Base of all errors the stream server raises on purpose."""


class StartError(ServerError):
    """The process cannot do what the command line asks; the message is one sentence with the remedy."""


class StorageError(ServerError):
    """A transaction was not stored: `reason` is what the database said."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"storage does not take writes: {reason}")


class ApiError(ServerError):
    """The JSON answer {"code","message","details"} with an HTTP `status` and extra `headers`."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})
        super().__init__(f"{status} {code}: {message}")


_LISTED: Final = {
    "agent": "`stream-server agents list` and GET /api/v1/agents lists them",
    "dongle": "GET /api/v1/dongles lists them",
    "group": "GET /api/v1/groups lists them",
    "enrolment": "`stream-server enroll list` lists them, and which are revoked already",
    "token": "`stream-server token list` lists those that are not revoked",
}


def not_found(kind: str, identifier: str) -> ApiError:
    """404 `<KIND>_NOT_FOUND` for what does not exist, or is revoked already."""
    return ApiError(
        404,
        f"{kind.upper()}_NOT_FOUND",
        f"there is no {kind} {identifier!r}; {_LISTED[kind]}",
        {f"{kind}_id": identifier},
    )
