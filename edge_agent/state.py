"""How a part of the agent stands, in the words of the services that are reported."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class StatusCode(IntEnum):
    """The numbers of `ServiceStatus.status_code`."""

    OK = 0
    DEGRADED = 1
    FAILED = 2
    STARTING = 3
    STOPPED = 4


class State(Struct, frozen=True):
    """`message` says what is the matter and what to do about it, `fault` names it for programs."""

    code: StatusCode
    message: str
    fault: str = ""
