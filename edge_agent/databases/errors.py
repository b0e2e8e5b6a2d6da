"""What can be wrong with a database file."""

from __future__ import annotations

from pathlib import Path

from edge_agent.errors import EdgeAgentError


class DatabaseError(EdgeAgentError):
    """The database `path` cannot be loaded: `reason`, at `line` (from 1)."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        super().__init__(f"{path}:{line}: {reason}")
