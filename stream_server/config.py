"""The server's configuration file: TOML, every key with its default, unknown keys are errors."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from can_stream.strict_config import ConfigError, load
from stream_server.errors import StartError

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1, le=2**63 - 1)]
SamplingLimit = Annotated[int, Meta(ge=1, le=100_000)]
_PUBLIC_URL: Final = r"^https?://[^/?#\s]+/?$"
PublicUrl = Annotated[str, Meta(pattern=_PUBLIC_URL, description="a URL such as https://stream.example.com")]

DEFAULT_DATA_DIR: Final = "stream-server-data"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class ServerSection(_Section, frozen=True):
    """Where to listen, where to store, how the outside reaches the server."""

    host: str = "127.0.0.1"
    port: Port = 8080
    data_dir: str = DEFAULT_DATA_DIR
    public_url: PublicUrl | None = None
    trust_forwarded: bool = False


class LimitsSection(_Section, frozen=True):
    """How much one credential or address may ask for."""

    requests_per_second: Positive = 50.0
    request_burst: Count = 200
    failed_authentications_per_minute: Positive = 10.0
    failed_authentication_burst: Count = 20
    streams_per_credential: Count = 20
    connections: Count = 16_384
    connections_per_credential: Count = 256
    connections_per_address: Count = 1024
    head_seconds: Positive = 10.0
    body_seconds: Positive = 20.0
    idle_seconds: Positive = 75.0
    send_seconds: Positive = 60.0
    body_bytes: Annotated[int, Meta(ge=1_048_576)] = 16_777_216
    downloads_per_credential: Count = 4
    downloads: Count = 16
    session_hours: Positive = 168.0
    memory_bytes: Annotated[int, Meta(ge=64_000_000)] | None = None

    @property
    def whole_memory_bytes(self) -> int:
        """`memory_bytes`, or a quarter of the machine's memory, from 256 MB to 4 GB."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        quarter = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
        return min(max(quarter, 256_000_000), 4_000_000_000)


class ConsoleSection(_Section, frozen=True):
    """The live streams of SPEC 4."""

    ring_events: Count = 10_000
    ring_seconds: Positive = 60.0
    max_frames_per_second: SamplingLimit = 200
    send_timeout_seconds: Positive = 20.0


class RecordingSection(_Section, frozen=True):
    """How much of what was received is kept; whichever bound is hit first, the oldest go.

    Of too many bytes, the oldest of the agent that takes most.
    """

    max_age_seconds: Positive = 7 * 86_400.0
    max_bytes: Count = 10_000_000_000
    max_bytes_per_agent: Count | None = None


class SignalTablesSection(_Section, frozen=True):
    """How much room the signal tables take that agents have sent."""

    max_bytes: Annotated[int, Meta(ge=8_388_608)] = 268_435_456


class HolesSection(_Section, frozen=True):
    """How long frames are waited for that an agent has announced and nobody lists any more."""

    max_age_seconds: Positive = 8 * 86_400.0


class AuditSection(_Section, frozen=True):
    """How much of the audit trail is kept: beyond that the oldest of the actors that have most go."""

    max_records: Count = 100_000


class AgentsSection(_Section, frozen=True):
    """What agents are told in `welcome`."""

    heartbeat_seconds: Annotated[float, Meta(ge=1, le=60)] = 30.0


class ServerConfig(_Section, frozen=True):
    """The whole file."""

    server: ServerSection = ServerSection()
    limits: LimitsSection = LimitsSection()
    console: ConsoleSection = ConsoleSection()
    recording: RecordingSection = RecordingSection()
    signal_tables: SignalTablesSection = SignalTablesSection()
    holes: HolesSection = HolesSection()
    audit: AuditSection = AuditSection()
    agents: AgentsSection = AgentsSection()


def is_public_url(text: str) -> bool:
    """Whether browsers can be sent there."""
    return re.fullmatch(_PUBLIC_URL, text) is not None


def read_config(path: Path | None) -> ServerConfig:
    """The configuration in `path`, or the defaults. Raises StartError that lists every problem."""
    if path is None:
        return ServerConfig()
    try:
        return load(path, ServerConfig)
    except ConfigError as error:
        raise StartError(str(error)) from error
