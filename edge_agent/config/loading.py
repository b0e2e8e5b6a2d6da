"""The agent's file, read whole and checked whole."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from can_stream import strict_config
from can_stream.protocol.identity import identifier_from
from can_stream.strict_config import ConfigError, Problem
from edge_agent.config.sections import AgentConfig, AgentSection, dongle_id


def load_agent_config(
    path: Path, host_name: str | None = None, *, enrolled_id: Callable[[str | None], str | None] | None = None
) -> AgentConfig:
    """The file at `path` with all ids filled in. Raises ConfigError with all its problems.

    `enrolled_id` says whose token is in `server.token_file`: the agent's id where the file names none.
    """
    document = strict_config.read_document(path)
    default_agent_id = identifier_from(socket.gethostname() if host_name is None else host_name)
    if enrolled_id is not None:
        default_agent_id = enrolled_id(_token_file(document)) or default_agent_id
    problems = _duplicate_ids(document, default_agent_id)
    try:
        config = strict_config.check(document, AgentConfig)
    except ConfigError as error:
        raise ConfigError(error.problems + problems, path) from None
    if problems:
        raise ConfigError(problems, path)
    return _with_ids(config, config.agent.id or default_agent_id, path.parent)


def _token_file(document: Mapping[str, Any]) -> str | None:
    server = document.get("server")
    named = server.get("token_file") if isinstance(server, dict) else None
    return named if isinstance(named, str) else None


def _with_ids(config: AgentConfig, agent_id: str, directory: Path) -> AgentConfig:
    replace = msgspec.structs.replace
    dongles = [
        replace(
            one,
            id=dongle_id(one.id, agent_id, one.place),
            databases=[str(directory / pattern) for pattern in one.databases],
        )
        for one in config.dongles
    ]
    socket = config.agent.status_socket
    agent = AgentSection(agent_id, None if socket is None else str(directory / socket))
    return replace(config, agent=agent, dongles=dongles)


def _duplicate_ids(document: Mapping[str, Any], default_agent_id: str) -> list[Problem]:
    """On the raw document, so that duplicates are told together with whatever else is wrong in it."""
    agent = document.get("agent")
    named = agent.get("id") if isinstance(agent, dict) else None
    agent_id = named if isinstance(named, str) else default_agent_id
    dongles = document.get("dongles")
    tables = dongles if isinstance(dongles, list) else []
    ids = [_raw_id(table, agent_id) for table in tables]
    counts = Counter(one for one in ids if one is not None)
    return [
        Problem(f"dongles[{index}].id", f"{one!r} is the id of {counts[one]} dongles, name each with `id`")
        for index, one in enumerate(ids)
        if one is not None and counts[one] > 1
    ]


def _raw_id(table: object, agent_id: str) -> str | None:
    if not isinstance(table, dict):
        return None
    configured, place = table.get("id"), table.get("channel", table.get("device_id"))
    if isinstance(configured, str):
        return configured
    return dongle_id(None, agent_id, place) if isinstance(place, str) else None
