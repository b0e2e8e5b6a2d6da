"""Where the agent keeps what must outlive it, and how small files there are written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEM_DIRECTORY: Final = Path("/var/lib/edge-agent")


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The service's `StateDirectory=`, else the default."""
    service = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(service) if service else default_state_directory(environment)


def default_state_directory(environment: Mapping[str, str] = os.environ, user_id: int | None = None) -> Path:
    """`/var/lib/edge-agent`; for an ordinary user `edge-agent` below `$XDG_STATE_HOME`."""
    # Below a dynamic user's private directory others may not even look: `is_dir` would raise.
    writable = os.path.isdir(SYSTEM_DIRECTORY) and os.access(SYSTEM_DIRECTORY, os.W_OK)  # noqa: PTH112
    if (os.geteuid() if user_id is None else user_id) == 0 or (user_id is None and writable):
        return SYSTEM_DIRECTORY
    state = environment.get("XDG_STATE_HOME", "")
    if Path(state).is_absolute():
        return Path(state) / "edge-agent"
    try:
        home = Path(environment.get("HOME") or "~").expanduser()
    except RuntimeError:  # a service's user may have no home
        return SYSTEM_DIRECTORY
    return home / ".local" / "state" / "edge-agent"


def write_whole(path: Path, content: bytes) -> None:
    """Whole or not at all, mode 0600. Raises OSError.

    It is not synced: who reads it checks what a power cut may leave.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
