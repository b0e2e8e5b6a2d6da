"""How a source stands, in the words of the services that are reported (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class SourceCode(IntEnum):
    """How a source stands, in the numbers of `ServiceStatus.status_code`."""

    OK = 0
    DEGRADED = 1
    FAILED = 2
    STARTING = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class SourceState:
    """`message` says what is the matter and what to do about it, `fault` names it for programs."""

    code: SourceCode
    message: str
    fault: str = ""
