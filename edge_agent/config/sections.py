"""The agent's configuration: the TOML file of docs/agent-configuration.md as Structs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from can_stream.protocol.control import MAX_DONGLES, DongleInfo
from can_stream.protocol.identity import identifier_from
from edge_agent.config.dongle import DongleSection, Id, Text, id_problems
from edge_agent.config.server_url import clear_text, url_problem, websocket_url
from edge_agent.config.transmit import RelaySection, TransmitSection, permission_problems

CLEAR_TEXT_REMEDY: Final = (
    "give the server TLS and write https://, or, where that network is yours alone, write "
    "`allow_clear_text = true` below [server]"
)


class AgentSection(msgspec.Struct, frozen=True):
    """[agent]: who this gateway is."""

    id: Id | None = None
    status_socket: Text | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """Ids that the pattern alone lets through."""
        return id_problems(self.id)


class ServerSection(msgspec.Struct, frozen=True):
    """[server]: where the stream goes."""

    required: ClassVar[Mapping[str, str]] = {"url": 'say where, as `url = "https://stream.example.com"`'}

    url: Text
    token_file: Text | None = None
    ca_file: Text | None = None
    allow_clear_text: bool = False

    def problems(self) -> Iterable[tuple[str, str]]:
        """A `url` that is none."""
        problem = url_problem(self.url)
        return [] if problem is None else [("url", problem)]

    @property
    def clear_text(self) -> str | None:
        """What is to be said of a token that others can read, and what to do where nobody meant it."""
        said = clear_text(self.url)
        if said is None or self.allow_clear_text:
            return said and f"{said}, which `server.allow_clear_text` allows"
        return f"{said}: {CLEAR_TEXT_REMEDY}"

    @property
    def is_in_doubt(self) -> bool:
        """Whether a token goes where others can read it, and nobody has said that this is meant."""
        return not self.allow_clear_text and clear_text(self.url) is not None

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
    reserve_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """What the fields only say together."""
        if self.sync_seconds <= self.flush_seconds:
            yield "sync_seconds", f"must be more than `flush_seconds`, which is {self.flush_seconds:g}"


class AgentConfig(msgspec.Struct, frozen=True):
    """The whole file."""

    not_supported: ClassVar[frozenset[str]] = frozenset({"commands"})
    required: ClassVar[Mapping[str, str]] = {
        "server": 'say where to, as `[server]` with `url = "https://stream.example.com"` below it',
        "dongles": 'say what to read, as `[[dongles]]` with `channel = "can0"` below it; '
        "`edge-agent dongles --config` writes it for what is plugged in",
    }

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


def dongle_id(configured: str | None, agent_id: str, place: str) -> str:
    """The id of a dongle: as configured, else `<agent id>-<channel>` or `<agent id>-<device id>`."""
    return configured or identifier_from(f"{agent_id}-{identifier_from(place)}")
