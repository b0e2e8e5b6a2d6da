"""A damaged recording makes room for a new one, and is kept beside it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

KEPT: Final = 3
_PATTERN: Final = "recording.damaged-*.sqlite3"
_TAILS: Final = ("", "-wal", "-journal")
_logger: Final = logging.getLogger(__name__)


def damaged_recordings(directory: Path) -> list[Path]:
    """Those that were set aside, the oldest first."""
    return sorted(directory.glob(_PATTERN))


def free_name(recording: Path, now: datetime) -> Path:
    """How a recording that is set aside now is called: no file has this name yet."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    names = (f"recording.damaged-{stamp}{tail}.sqlite3" for tail in ("", *(f".{n}" for n in range(1000))))
    return next(path for name in names if not (path := recording.with_name(name)).exists())


def set_aside(recording: Path, aside: Path, sync: Callable[[Path], None]) -> None:
    """Give the file another name, with its log; a kill in between leaves what can be done again."""
    for tail in _TAILS:
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            _link(recording.with_name(f"{recording.name}{tail}"), aside.with_name(f"{aside.name}{tail}"))
    sync(recording.parent)
    for tail in (*_TAILS, "-shm"):
        recording.with_name(f"{recording.name}{tail}").unlink(missing_ok=True)
    sync(recording.parent)


def forget_oldest(directory: Path) -> None:
    """Keep the last three: a disk that fails again and again must not fill itself with copies."""
    for path in damaged_recordings(directory)[:-KEPT]:
        _logger.warning("%s is deleted: the last %d damaged recordings are kept", path, KEPT)
        for tail in (*_TAILS, "-shm"):
            path.with_name(f"{path.name}{tail}").unlink(missing_ok=True)


def _link(path: Path, other: Path) -> None:
    try:
        other.hardlink_to(path)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        path.rename(other)  # a file system without links
