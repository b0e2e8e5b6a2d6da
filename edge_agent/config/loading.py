"""The agent's file, read whole and checked whole."""

from __future__ import annotations

import glob
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import msgspec
from msgspec import Struct

from can_stream import strict_config
from can_stream.databases.bundled import bundled
from can_stream.databases.options import DatabaseOptions
from can_stream.protocol.identity import identifier_from, is_identifier
from can_stream.strict_config import ConfigError, Problem
from edge_agent.config.enrolling import enrol_command
from edge_agent.config.scoping import scope_problems
from edge_agent.config.sections import AgentConfig, AgentSection, dongle_id


class Enrolled(Struct, frozen=True):
    """The token in `token_file` is that of `agent_id`. `is_default`: no key names that file.

    `is_proven`: it was stored with this very token. Otherwise it is only what the agent is called where its
    file does not say.
    """

    agent_id: str
    token_file: PurePath
    is_default: bool = False
    is_proven: bool = True


def load_agent_config(
    path: Path,
    host_name: str | None = None,
    *,
    enrolled: Callable[[str | None], Enrolled | None] = lambda _: None,
) -> AgentConfig:
    """The file at `path` with all ids filled in. Raises ConfigError with all its problems.

    `enrolled` says whose token is in `server.token_file`: the agent's id where the file names none, and the
    only one that it may name, for the server refuses any other.
    """
    document = strict_config.read_document(path)
    default_agent_id = identifier_from(socket.gethostname() if host_name is None else host_name)
    owner = enrolled(_token_file(document))
    if owner is not None:
        default_agent_id = owner.agent_id
    problems = _duplicate_ids(document, default_agent_id) + _another_id(document, owner)
    try:
        config = strict_config.check(document, AgentConfig)
    except ConfigError as error:
        raise ConfigError(error.problems + problems, path) from None
    if problems:
        raise ConfigError(problems, path)
    named = _with_ids(config, config.agent.id or default_agent_id, path.parent)
    if found := [Problem(*one) for one in scope_problems(named.transmit, named.relay, named.dongles)]:
        raise ConfigError(found, path)
    return named


def _token_file(document: Mapping[str, Any]) -> str | None:
    named = _of_server(document, "token_file")
    return named if isinstance(named, str) else None


def _of_server(document: Mapping[str, Any], key: str) -> object:
    server = document.get("server")
    return server.get(key) if isinstance(server, dict) else None


def _another_id(document: Mapping[str, Any], owner: Enrolled | None) -> list[Problem]:
    named = _named_id(document)
    if owner is None or not owner.is_proven or named is None or named == owner.agent_id:
        return []
    if not is_identifier(named):
        return []
    place = "" if owner.is_default else owner.token_file
    again = enrol_command(_of_server(document, "url"), agent_id=named, token_file=place)
    return [
        Problem(
            "agent.id",
            f"is {named!r}, but the token in {owner.token_file} is that of {owner.agent_id!r}: leave `id` "
            f'out or set it to "{owner.agent_id}", or run {again}',
        )
    ]


def _named_id(document: Mapping[str, Any]) -> str | None:
    agent = document.get("agent")
    named = agent.get("id") if isinstance(agent, dict) else None
    return named if isinstance(named, str) else None


def _with_ids(config: AgentConfig, agent_id: str, directory: Path) -> AgentConfig:
    replace = msgspec.structs.replace
    dongles = [
        replace(
            one,
            id=dongle_id(one.id, agent_id, one.place),
            databases=[_database(directory, named) for named in one.databases],
            database_options=[_placed(directory, said) for said in one.database_options],
        )
        for one in config.dongles
    ]
    relay = config.relay
    if relay.enable_file is not None:
        relay = replace(relay, enable_file=str(directory / relay.enable_file))
    socket = config.agent.status_socket
    agent = AgentSection(agent_id, None if socket is None else str(directory / socket))
    return replace(config, agent=agent, dongles=dongles, relay=relay)


def _database(directory: Path, named: str) -> str:
    """The pattern for what one entry of `databases` names: a database that comes along, or files."""
    own = bundled(named)
    return str(directory / named) if own is None else glob.escape(str(own))


def _placed(directory: Path, said: DatabaseOptions) -> DatabaseOptions:
    """A `match` on a path, as `databases` is relative to the file's directory."""
    if "/" not in said.match:
        return said
    return msgspec.structs.replace(said, match=str(Path(glob.escape(str(directory))) / said.match))


def _duplicate_ids(document: Mapping[str, Any], default_agent_id: str) -> list[Problem]:
    """On the raw document, so that duplicates are told together with whatever else is wrong in it."""
    agent_id = _named_id(document) or default_agent_id
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
