"""The id that an agent was enrolled as, kept beside its token, and the agent's file read with it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from can_stream.protocol.identity import is_identifier
from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig
from edge_agent.host.state_directory import write_whole
from edge_agent.uplink.credentials import default_token_file

_SUFFIX: Final = ".agent-id"
_MAX_BYTES: Final = 65  # of an id and a line's end


def load_config(path: Path) -> AgentConfig:
    """The file at `path` with all ids filled in, the agent's by how it was enrolled. ConfigError."""
    return load_agent_config(path, enrolled_id=enrolled_id)


def enrolled_id(token_file: str | None) -> str | None:
    """Whose token is in `token_file`, or where `enroll` puts it; None where that is not known."""
    path = default_token_file() if token_file is None else Path(token_file).expanduser()
    try:
        with _beside(path).open("rb") as file:
            said = file.read(_MAX_BYTES + 1).decode("ascii").strip()
    except (OSError, ValueError):
        return None
    return said if is_identifier(said) else None


def store_enrolled_id(token_file: Path, agent_id: str) -> None:
    """For `enrolled_id`. It is a convenience: where it cannot be stored, the file must name the id."""
    path = _beside(token_file)
    with contextlib.suppress(OSError):
        write_whole(path, f"{agent_id}\n".encode())
        path.chmod(0o644)  # no secret, and a service is not root


def _beside(token_file: Path) -> Path:
    return token_file.with_name(token_file.name + _SUFFIX)
