"""Where the agent keeps what must outlive it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edge_agent.credentials import default_token_file


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """The service's `StateDirectory=`, else where `edge-agent enroll` puts the token."""
    service = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(service) if service else default_token_file(environment).parent
