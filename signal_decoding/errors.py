"""What can be wrong with a signal table."""

from __future__ import annotations


class TableError(Exception):
    """These bytes or descriptions make no signal table: `reason`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
