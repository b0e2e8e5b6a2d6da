"""The spool's directory: where it is, what lies in it, and what is set aside there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge_agent.host.state_directory import state_directory

FILE_NAME: Final = "spool.sqlite3"
WAL_NAME: Final = f"{FILE_NAME}-wal"
MOST_SET_ASIDE: Final = 3
_THREAD_IO: Final = Path("/proc/thread-self/io")
_SET_ASIDE: Final = "unreadable-*.sqlite3*"


def spool_directory(configured: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """`configured`; else `spool` in the state directory."""
    if configured is not None:
        return Path(configured).expanduser()
    return state_directory(environment) / "spool"


def files_bytes(directory: Path) -> int:
    """All files there together; 0 where there is no such directory."""
    return sum(_size(path) for path in _files(directory))


def others_bytes(directory: Path) -> int:
    """The files there that are not the spool's own."""
    return sum(_size(path) for path in _files(directory) if path.name not in (FILE_NAME, WAL_NAME))


def kept_files(directory: Path) -> list[Path]:
    """What was set aside, oldest first."""
    return sorted(directory.glob(_SET_ASIDE))


def set_aside(directory: Path, now_ns: int) -> Path:
    """Gives a file that cannot be used, and its log, another name beside it; the new name. Raises OSError.

    A log that stayed would be taken for the new file's. Of files set aside before only the newest are kept.
    """
    stamp = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = directory / f"unreadable-{stamp}.sqlite3"
    with suppress(FileNotFoundError):
        (directory / WAL_NAME).rename(f"{name}-wal")
    with suppress(FileNotFoundError):
        (directory / FILE_NAME).rename(name)
    databases = [path for path in kept_files(directory) if path.suffix == ".sqlite3"]
    for old in databases[:-MOST_SET_ASIDE]:
        old.unlink(missing_ok=True)
        old.with_name(f"{old.name}-wal").unlink(missing_ok=True)
    return name


def thread_written_bytes() -> int:
    """What this thread has given to storage (proc(5), write_bytes); 0 where the kernel does not count it."""
    try:
        for line in _THREAD_IO.read_text("ascii").splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def _files(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_file()]
    except OSError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
