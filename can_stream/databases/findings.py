"""What the linter has to say about database files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath

import msgspec


class Severity(StrEnum):
    """INFO: what was loaded. WARNING: what may not mean what it seems to. ERROR: what is missing."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True):
    """One remark on line `line` (from 1; 0: none) of `path`; `code` for programs, `message` for people.

    Codes: loaded, loaded_in_part, not_loaded; set_aside, extended_bit, overlap, outside_message,
    duplicate_message, duplicate_signal, duplicate_id, same_number, same_pgn, shadowed, unreachable,
    unsupported, multiplexing, scaled_multiplexer, not_finite, mended, encoding, looks_like_j1939,
    several_buses, open_end, no_messages, repeated.
    """

    path: PurePath
    line: int
    severity: Severity
    code: str
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.severity}: {self.message} [{self.code}]"


class Findings:
    """The findings on one file, as they come."""

    def __init__(self, path: PurePath) -> None:
        self.path = path
        self.found: list[Finding] = []

    def keep_each_once(self) -> None:
        """A message of many ids is looked at for each of them, and described once."""
        self.found[:] = dict.fromkeys(self.found)

    def info(self, line: int, code: str, message: str) -> None:
        """Add what was loaded."""
        self.found.append(Finding(self.path, line, Severity.INFO, code, message))

    def warn(self, line: int, code: str, message: str) -> None:
        """Add what may not mean what it seems to."""
        self.found.append(Finding(self.path, line, Severity.WARNING, code, message))

    def error(self, line: int, code: str, message: str) -> None:
        """Add what is missing."""
        self.found.append(Finding(self.path, line, Severity.ERROR, code, message))
