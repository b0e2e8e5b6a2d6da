"""How a source stands, in the words of the services that are reported (pure)."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class SourceCode(IntEnum):
    """How a source stands, in the numbers of `ServiceStatus.status_code`."""

    OK = 0
    DEGRADED = 1
    FAILED = 2
    STARTING = 3
    STOPPED = 4


class SourceState(Struct, frozen=True):
    """`message` says what is the matter and what to do about it, `fault` names it for programs."""

    code: SourceCode
    message: str
    fault: str = ""
