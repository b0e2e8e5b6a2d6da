"""What can go wrong in what both sides share.

CanStreamError
 +- LogError        a log file cannot be read at all (single bad lines are counted, not raised)
 +- LineError       one line or object of a log cannot be read
 +- DatabaseError   a database file cannot be loaded

`protocol`, `signals` and `strict_config` have trees of their own: of bytes from the other side, of signal
tables, and of configuration files.
"""

from __future__ import annotations

from pathlib import PurePath


class CanStreamError(Exception):
    """Something cannot be done: the message says what, and the remedy where there is one."""


class LogError(CanStreamError):
    """The log file `path` cannot be read: `reason`."""

    def __init__(self, path: PurePath, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class LineError(CanStreamError):
    """One line or object of a log cannot be read: `reason`. Counted by the reader, never its end."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class DatabaseError(CanStreamError):
    """The database `path` cannot be loaded: `reason`, at `line` (from 1; 0: it is no matter of a line)."""

    def __init__(self, path: PurePath, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")
