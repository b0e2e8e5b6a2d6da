"""Where a running agent has its socket and its lock: gone at the next boot, and one per user."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEM_DIRECTORY: Final = Path("/run/edge-agent")


def runtime_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The service's `RuntimeDirectory=`, else this user's."""
    service = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(service) if service else user_directory(environment)


def user_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`edge-agent` below `$XDG_RUNTIME_DIR`, else a directory of this user's among the temporary ones."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    return Path(runtime) / "edge-agent" if Path(runtime).is_absolute() else _shared_directory()


def make_runtime_directory(directory: Path) -> None:
    """For this user alone. Raises OSError, PermissionError where it is somebody else's.

    Only what is below a directory of all users needs care: there anybody can make one first.
    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700, parents=True)
    status = directory.lstat()
    if directory == _shared_directory() and (
        status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode)
    ):
        raise PermissionError(None, "the directory belongs to somebody else")


def relay_directory(agent_id: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where an agent has its records: another of this user may call a dongle by the same id."""
    return runtime_directory(environment) / f"relay-{agent_id}"


def relay_record(directory: Path, dongle_id: str) -> Path:
    """Where it is kept what the relay has put on the bus of a dongle."""
    return directory / f"relay-{dongle_id}.record"


def _shared_directory() -> Path:
    return Path(tempfile.gettempdir()) / f"edge-agent-{os.geteuid()}"
