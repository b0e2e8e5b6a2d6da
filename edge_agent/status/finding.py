"""Which running agent is meant, and what it says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edge_agent.errors import StatusError
from edge_agent.status.document import AgentStatus
from edge_agent.status.socket import candidates, running_agents, socket_path
from edge_agent.uplink.enrolled import load_config

_UNIT: Final = Path("/etc/systemd/system/edge-agent.service")


def how_to_start(config: Path | None = None) -> str:
    """What starts an agent on this machine."""
    if _UNIT.exists():
        return "start it with `sudo systemctl start edge-agent`"
    return f"start it with `edge-agent run --config {config or 'FILE'}`"


def find_status(
    config: Path | None, socket: Path | None, environment: Mapping[str, str] = os.environ
) -> AgentStatus:
    """The status of the one agent that is meant. StatusError; ConfigError for an unusable `config`."""
    if socket is not None:
        return _the_one([socket])
    if config is None:
        return _the_one(candidates(environment))
    section = load_config(config).agent
    assert section.id is not None
    if section.status_socket is not None:
        return _the_one([Path(section.status_socket)])
    mine = socket_path(None, section.id, environment)
    paths = [mine, *(path for path in candidates(environment) if path != mine)]
    return _the_one(paths, section.id, config)


def _the_one(paths: list[Path], agent_id: str | None = None, config: Path | None = None) -> AgentStatus:
    found: dict[Path, AgentStatus] = {}
    refusals: list[StatusError] = []
    for path, said in running_agents(paths):
        if isinstance(said, StatusError):
            refusals.append(said)
        elif agent_id in (None, said.agent_id):
            found[path] = said
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        listed = "".join(f"\n  --socket {path}   agent {one.agent_id}" for path, one in found.items())
        raise StatusError("SEVERAL", f"{len(found)} agents run here", f"say which one:{listed}")
    # Where one may not be asked or hangs, that says more than that the others are not there.
    telling = [one for one in refusals if one.code != "NOT_RUNNING"] or refusals[:1]
    if telling and telling[0].code != "NOT_RUNNING":
        raise telling[0]
    where = f" ({telling[0].reason})" if telling else ""
    named = f"agent {agent_id}" if agent_id else "agent"
    remedy = f"{how_to_start(config)}; `edge-agent doctor` says what may be wrong"
    raise StatusError("NOT_RUNNING", f"no {named} runs here{where}", remedy)
