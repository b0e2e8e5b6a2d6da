"""The agent's configuration: the TOML file of docs/agent-configuration.md as Structs."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from can_stream import strict_config
from can_stream.protocol.control import MAX_DONGLES, DongleInfo
from can_stream.protocol.identity import identifier_from
from can_stream.strict_config import ConfigError, Problem
from edge_agent.config.dongle import DongleSection, Id, Text, id_problems
from edge_agent.config.server_url import url_problem, websocket_url
from edge_agent.config.transmit import RelaySection, TransmitSection, permission_problems


class AgentSection(msgspec.Struct, frozen=True):
    """[agent]: who this gateway is."""

    id: Id | None = None
    status_socket: Text | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """Ids that the pattern alone lets through."""
        return id_problems(self.id)


class ServerSection(msgspec.Struct, frozen=True):
    """[server]: where the stream goes."""

    url: Text
    token_file: Text | None = None
    ca_file: Text | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """A `url` that is none."""
        problem = url_problem(self.url)
        return [] if problem is None else [("url", problem)]

    def websocket_url(self, path: str) -> str:
        """Where `/ws/agent` and `/ws/data` are."""
        return websocket_url(self.url, path)


class UplinkSection(msgspec.Struct, frozen=True):
    """[uplink]: how frames become packets, and how much waits in memory for the server's ack."""

    flush_seconds: Annotated[float, Meta(ge=0.005, le=10)] = 0.05
    timestamp_resolution_ns: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 1_000
    window_bytes: Annotated[int, Meta(ge=65_536, le=1 << 30)] = 16_000_000
    max_bytes_per_day: Annotated[int, Meta(ge=0, le=1 << 53)] = 0


class SpoolSection(msgspec.Struct, frozen=True):
    """[spool]: what waits on disk for the server's ack."""

    directory: Text | None = None
    max_bytes: Annotated[int, Meta(ge=1_000_000, le=1 << 40)] = 500_000_000
    max_age_seconds: Annotated[float, Meta(ge=1, le=10 * 365 * 86_400)] = 604_800
    flush_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 0.25
    sync_seconds: Annotated[float, Meta(ge=0.1, le=3_600)] = 2.0

    def problems(self) -> Iterable[tuple[str, str]]:
        """What the fields only say together."""
        if self.sync_seconds <= self.flush_seconds:
            yield "sync_seconds", f"must be more than `flush_seconds`, which is {self.flush_seconds:g}"


class AgentConfig(msgspec.Struct, frozen=True):
    """The whole file."""

    not_supported: ClassVar[frozenset[str]] = frozenset({"commands"})

    server: ServerSection
    dongles: Annotated[list[DongleSection], Meta(min_length=1, max_length=MAX_DONGLES)]
    agent: AgentSection = AgentSection()
    uplink: UplinkSection = UplinkSection()
    spool: SpoolSection = SpoolSection()
    transmit: TransmitSection = TransmitSection()
    relay: RelaySection = RelaySection()

    def problems(self) -> Iterable[tuple[str, str]]:
        """Permissions to transmit that no dongle could use."""
        modes = [(dongle.interface, dongle.mode) for dongle in self.dongles]
        return permission_problems(self.transmit, self.relay, modes)

    @property
    def agent_id(self) -> str:
        """The agent's id, which `load_agent_config` has filled in."""
        assert self.agent.id is not None
        return self.agent.id

    def dongle_infos(self) -> list[DongleInfo]:
        """What hello says of the dongles, in the order of the file."""
        return [dongle.info() for dongle in self.dongles]


def load_agent_config(path: Path, host_name: str | None = None) -> AgentConfig:
    """The file at `path` with all ids filled in. Raises ConfigError with all its problems."""
    document = strict_config.read_document(path)
    default_agent_id = identifier_from(socket.gethostname() if host_name is None else host_name)
    problems = _duplicate_ids(document, default_agent_id)
    try:
        config = strict_config.check(document, AgentConfig)
    except ConfigError as error:
        raise ConfigError(error.problems + problems, path) from None
    if problems:
        raise ConfigError(problems, path)
    return _with_ids(config, config.agent.id or default_agent_id, path.parent)


def dongle_id(configured: str | None, agent_id: str, place: str) -> str:
    """The id of a dongle: as configured, else `<agent id>-<channel>` or `<agent id>-<device id>`."""
    return configured or identifier_from(f"{agent_id}-{identifier_from(place)}")


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
