"""`edge-agent run` with a configuration, and what the server has recorded of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from edge_agent.status.document import AgentStatus
from edge_agent.status.socket import ask_status
from tests.helpers.conditions import eventually
from tests.helpers.processes import Argument, Process, StreamServer, installed_command

Dongle = Mapping[str, Any]
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class TokenHolder(Protocol):
    """An agent that may speak to a server."""

    @property
    def agent_id(self) -> str:
        """Its id."""

    @property
    def token_file(self) -> Path:
        """Where its token is."""


@dataclass(frozen=True, slots=True)
class RegisteredAgent:
    """An agent that was registered without a process of its own."""

    agent_id: str
    token_file: Path


def registered_agents(
    server: StreamServer, agent_ids: Sequence[str], directory: Path
) -> list[RegisteredAgent]:
    """Many agents at once, where starting `edge-agent enroll` for each would take too long."""
    secret = server.administer("enroll", "create", "--uses", len(agent_ids))
    agents = []
    for agent_id in agent_ids:
        body = {"enrolment_token": secret, "agent_id": agent_id}
        request = urllib.request.Request(f"{server.url}/api/v1/agents/register", json.dumps(body).encode())
        with _OPENER.open(request, timeout=10) as answer:
            token = json.loads(answer.read())["agent_token"]
        path = directory / f"{agent_id}.token"
        path.touch(0o600)
        path.write_text(token)
        agents.append(RegisteredAgent(agent_id, path))
    return agents


def run_agent(
    agent: TokenHolder,
    url: str,
    dongles: Sequence[Dongle],
    *,
    token_file: Path | None = None,
    ca_file: Path | None = None,
    program: Sequence[Argument] | None = None,
    **sections: Mapping[str, Any] | None,
) -> Process:
    """`edge-agent run`, started; its configuration, its state and its status socket lie beside its token.

    `sections`: what else its file says. `program`: what the command begins with, where it is run elsewhere or
    is another release's.
    """
    path = agent.token_file.with_suffix(".toml")
    server = {"url": url, "token_file": str(token_file or agent.token_file)}
    server |= {} if ca_file is None else {"ca_file": str(ca_file)}
    spool = {"directory": str(agent.token_file.with_suffix(".spool")), **(sections.pop("spool", None) or {})}
    given = {name: table for name, table in sections.items() if table is not None}
    path.write_text(agent_configuration(agent.agent_id, server, dongles, spool=spool, **given))
    command = [*(program or installed_command("edge-agent")), "run", "--config", path]
    return Process(command, environment=agent_environment(agent.token_file.parent))


def agent_configuration(
    agent_id: str, server: Mapping[str, Any], dongles: Sequence[Dongle], **sections: Mapping[str, Any]
) -> str:
    """The text of an agent's file."""
    tables = {"agent": {"id": agent_id}, "server": server, **sections}
    lines = [line for name, table in tables.items() if table for line in (f"[{name}]", *_pairs(table))]
    lines += [line for dongle in dongles for line in ("[[dongles]]", *_pairs(dongle))]
    return "\n".join(lines) + "\n"


def agent_environment(directory: Path) -> dict[str, str]:
    """Where an agent, and who asks it, find what lies in the home and runtime directories otherwise."""
    return {"STATE_DIRECTORY": str(directory), "XDG_RUNTIME_DIR": str(directory)}


def log_dongle(path: Path, dongle_id: str, **options: Any) -> Dongle:
    """A dongle that plays a log."""
    return {"id": dongle_id, "interface": "log", "channel": str(path), "options": options}


def list_dongle(server: StreamServer, agent: TokenHolder, channel: str = "can0") -> str:
    """Makes a dongle known before its first frame, so that its console can be opened; its id."""
    dongle_id = f"{agent.agent_id}-{channel}"
    report = {"dongles": [{"dongle_id": dongle_id, "interface": "log", "channel": channel}]}
    request = urllib.request.Request(
        f"{server.url}/api/v1/agents/devices/report",
        json.dumps(report).encode(),
        {
            "Authorization": f"Bearer {agent.token_file.read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    with _OPENER.open(request, timeout=10):
        return dongle_id


def status_of(agent: TokenHolder) -> AgentStatus:
    """What the agent says of itself; it has to run, with its state beside its token."""
    path = agent.token_file.parent / "edge-agent" / f"{agent.agent_id}.sock"
    eventually(path.exists, "the status socket")
    return ask_status(path)


def recorded_frames(server: StreamServer, dongle_id: str, token: str) -> int:
    """How many frames the recording holds; 0 while the server does not know the dongle."""
    try:
        view = server.read_json(f"/api/v1/dongles/{dongle_id}", token)
    except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError):
        return 0
    return int(view["recording"]["frames"])


def wait_for_recorded(
    server: StreamServer, dongle_id: str, token: str, frames: int, timeout_seconds: float = 60.0
) -> None:
    """At least so many frames are recorded."""
    seen = 0

    def enough() -> bool:
        nonlocal seen
        seen = recorded_frames(server, dongle_id, token)
        return seen >= frames

    try:
        eventually(enough, f"{frames} frames of {dongle_id} in the recording", timeout_seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; there are {seen}") from error


def recorded_lines(server: StreamServer, dongle_id: str, token: str, query: str = "") -> list[str]:
    """The recording as candump lines."""
    return server.read(f"/api/v1/dongles/{dongle_id}/frames{query}", token).decode().splitlines()


def recorded_gaps(server: StreamServer, dongle_id: str, token: str) -> list[dict[str, Any]]:
    """The gaps in the recording, in order."""
    text = server.read(f"/api/v1/dongles/{dongle_id}/frames?format=jsonl", token).decode()
    return [record for line in text.splitlines() if (record := json.loads(line))["type"] == "gap"]


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in table.items()]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_pairs(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def replay_through(
    agent: TokenHolder,
    url: str,
    *logs: Path,
    options: Sequence[Argument] = (),
    environment: Mapping[str, str] | None = None,
) -> Process:
    """`edge-agent replay` to another address than the server's own: a proxy's, say."""
    command: list[Argument] = [*installed_command("edge-agent"), "replay", *logs, *options]
    target: list[Argument] = ["--server", url, "--agent-id", agent.agent_id]
    return Process([*command, *target, "--token-file", agent.token_file], environment=environment)
