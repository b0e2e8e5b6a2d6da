"""A wall clock of its own for real processes, which somebody sets while they run.

A namespace of the kernel does not move CLOCK_REALTIME, and libfaketime knows much more than a clock that is
set: a preloaded file of few lines moves that, and nothing else.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.helpers.processes import Argument

_SOURCE: Final = Path(__file__).with_suffix(".c")
_COMPILER: Final = shutil.which("cc")
HAS_WALL_CLOCKS: Final = _COMPILER is not None
HINT: Final = "clocks of processes are set by a library that `cc` makes: sudo apt install gcc libc6-dev"


class WallClock:
    """The clock of one machine, for all that is `running` by it, across their restarts."""

    def __init__(self, library: Path, state: Path) -> None:
        self.ahead_seconds = 0
        self._library, self._state = library, state
        state.write_bytes(bytes(8))

    def running(self, program: Sequence[Argument]) -> list[Argument]:
        """The program, by this clock."""
        return ["env", f"LD_PRELOAD={self._library}", f"WALL_CLOCK_AHEAD={self._state}", *program]

    def set(self, ahead_seconds: int) -> None:
        """It is so far ahead of the right time from now on, or behind it."""
        self.ahead_seconds = ahead_seconds
        with self._state.open("r+b") as file:
            file.write(struct.pack("=q", ahead_seconds))


def wall_clock_library(directory: Path) -> Path:
    """What is preloaded, made here; only where HAS_WALL_CLOCKS."""
    assert _COMPILER is not None, HINT
    library = directory / "wall_clock.so"
    command = [_COMPILER, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(_SOURCE)], check=True)
    return library
