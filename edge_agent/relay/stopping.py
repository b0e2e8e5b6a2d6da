"""What stops the relay on this gateway: a file, by `edge-agent relay stop`, or one that is not there.

That a file exists is all it says, so that whoever is root may make it, and an agent that may not read it
obeys. A look costs microseconds, so one is taken before each burst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from edge_agent.errors import RelayStopError

PREFIX: Final = "relay-stopped-"


def stop_file(directory: Path, dongle_id: str) -> Path:
    """What stops the relay to this dongle where it exists, in the state directory of its agent."""
    return directory / f"{PREFIX}{dongle_id}"


def is_stopped(path: Path) -> bool:
    """Whether it exists; what cannot be known is a stop."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def is_enabled(path: Path | None) -> bool:
    """Whether the file of `enable_file` exists, where one is configured; what cannot be known is a no."""
    return path is None or os.path.exists(path)  # noqa: PTH110 - raises nothing


class Switches(Struct, frozen=True):
    """The files that stop the relay: `stop_file` by being there, `enable_file` by not being there.

    `gate_closed` says of a time of CLOCK_BOOTTIME why the gates forbid frames, "" where they do not.
    """

    stop_file: Path
    enable_file: Path | None = None
    gate_closed: Callable[[int], str] = lambda _: ""

    def stopped(self) -> str:
        """Why nothing goes through now, "" where something may."""
        if is_stopped(self.stop_file):
            return "`edge-agent relay stop` was said here; `edge-agent relay start` lets it go on"
        if not is_enabled(self.enable_file):
            return f"`enable_file` {self.enable_file} does not exist; frames may be sent here once it does"
        return ""


def stop(path: Path) -> bool:
    """Makes the file; whether it was not there. RelayStopError."""
    with _told(path):
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        except FileExistsError:
            return False
    return True


def start(path: Path) -> bool:
    """Takes it away; whether it was there. RelayStopError."""
    with _told(path):
        try:
            path.unlink()
        except FileNotFoundError:
            return False
    return True


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RelayStopError(path, error.strerror or str(error)) from error
