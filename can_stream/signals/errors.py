"""What can be wrong with a signal table.

TableError
 +- TableVersionError   it is whole, and of another version
"""

from __future__ import annotations


class TableError(Exception):
    """These bytes or descriptions make no signal table: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class TableVersionError(TableError):
    """A table of another `version`: one of the two sides is older than the other."""

    def __init__(self, version: int, known: int) -> None:
        self.version = version
        super().__init__(f"table version {version}, this side reads {known}")
