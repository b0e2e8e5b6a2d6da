"""The one error of a configuration file, with everything that is wrong in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing to put right: `key` as `dongles[1].bitrate`, or `line 3, column 5`, or "" for the file."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


class ConfigError(Exception):
    """The configuration at `path` (None: not from a file) has these `problems`, one line each in `str()`."""

    def __init__(self, problems: Sequence[Problem], path: PurePath | None = None) -> None:
        self.problems = list(problems)
        self.path = path
        prefix = "" if path is None else f"{path}: "
        super().__init__("\n".join(f"{prefix}{problem}" for problem in self.problems))
