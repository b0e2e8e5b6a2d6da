"""Where the agent keeps what must outlive it, and how small files there are written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edge_agent.uplink.credentials import default_token_file


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The service's `StateDirectory=`, else where `edge-agent enroll` puts the token."""
    service = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(service) if service else default_token_file(environment).parent


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
