"""Control messages: JSON text over the two WebSockets, tagged by `type`. See docs/wire-protocol.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from can_stream.protocol.errors import ControlMessageError
from can_stream.protocol.identity import Identifier, StartId

PROTOCOL_VERSION: Final = 1
MAX_CONTROL_MESSAGE_BYTES: Final = 256 * 1024
MAX_DONGLES: Final = 64
MAX_LANES: Final = 2 * MAX_DONGLES
MAX_RANGES: Final = 2048
MAX_TABLES: Final = 8
TABLE_PART_BYTES: Final = 128 * 1024

_T = TypeVar("_T")

Text = Annotated[str, Meta(max_length=512)]
LongText = Annotated[str, Meta(max_length=8192)]
UInt = Annotated[int, Meta(ge=0)]
Seq = Annotated[int, Meta(ge=1, le=2**53)]
WallNs = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Details = dict[str, Any]

TableHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
LaneName = Literal["frames", "signals"]
LANES: Final[tuple[LaneName, ...]] = ("frames", "signals")
LogLevel = Literal["debug", "info", "warning", "error"]
StatusCode = Annotated[int, Meta(ge=0, le=5)]


class DongleInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A dongle as its gateway describes it.

    `frames`: whether its frames lane carries anything. `signal_tables`: hashes of the tables its signals lane
    refers to; the first is that of its databases as they are now.
    """

    dongle_id: Identifier
    interface: Text
    channel: Text
    device_id: Text | None = None
    mode: Literal["listen_only", "normal"] = "listen_only"
    bitrate: UInt | None = None
    fd: bool = False
    data_bitrate: UInt | None = None
    frames: Literal["all", "off"] = "all"
    signal_tables: Annotated[list[TableHash], Meta(max_length=MAX_TABLES)] = []


class ServiceStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One service. `status_code`: 0 OK, 1 DEGRADED, 2 FAILED, 3 STARTING, 4 STOPPED, 5 UNKNOWN."""

    service_id: Text
    agent_service_id: Text
    label: Text
    service_type: Text
    status_code: StatusCode
    status: Text
    message: LongText
    last_seen: Text
    metrics: Details = {}


class _ControlMessage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", omit_defaults=True
):
    """Base of all control messages."""


class Hello(_ControlMessage, frozen=True, tag="hello"):
    """First message of a control connection: who this is, since when, by which clocks, with which dongles."""

    agent_id: Identifier
    start_id: StartId
    boot_id: Text
    monotonic_ns: UInt
    wall_ns: WallNs
    clock_synchronised: bool
    version: Text
    dongles: Annotated[list[DongleInfo], Meta(max_length=MAX_DONGLES)] = []
    protocol: int = PROTOCOL_VERSION


class Heartbeat(_ControlMessage, frozen=True, tag="heartbeat"):
    """The agent is alive and its clocks say this."""

    monotonic_ns: UInt
    wall_ns: WallNs
    clock_synchronised: bool


class DevicesReport(_ControlMessage, frozen=True, tag="devices_report"):
    """The dongles this agent has now; replaces the list of hello."""

    dongles: Annotated[list[DongleInfo], Meta(max_length=MAX_DONGLES)]


class Status(_ControlMessage, frozen=True, tag="status"):
    """Services whose state is new; each replaces what was known of its `agent_service_id`."""

    services: Annotated[list[ServiceStatus], Meta(max_length=4 * MAX_DONGLES)]


class Log(_ControlMessage, frozen=True, tag="log"):
    """One log line of the agent, about `dongle_id` where it is about one."""

    wall_ns: WallNs
    level: LogLevel
    source: Text
    message: LongText
    dongle_id: Identifier | None = None
    details: Details = {}


class Discovery(_ControlMessage, frozen=True, tag="discovery"):
    """Something the agent found: `kind` in CamelCase, `slug` names it within its kind."""

    wall_ns: WallNs
    kind: Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z0-9]{0,63}$")]
    slug: Identifier
    dongle_id: Identifier | None = None
    details: Details = {}


class SignalTablePart(_ControlMessage, frozen=True, tag="signal_table"):
    """A part, from `offset` on, of the serialised table of `size` bytes that has this `hash`."""

    hash: TableHash
    size: Annotated[int, Meta(ge=1)]
    offset: UInt
    part: Annotated[bytes, Meta(max_length=TABLE_PART_BYTES)]


class CommandStatus(_ControlMessage, frozen=True, tag="command_status"):
    """Where a command stands on its gateway."""

    command_id: Text
    status: Literal["running", "done", "error", "timeout", "rejected", "expired", "cancelled"]
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    error: LongText | None = None


class Welcome(_ControlMessage, frozen=True, tag="welcome"):
    """The server's answer to hello: what it expects of this connection."""

    server_wall_ns: WallNs
    heartbeat_seconds: Annotated[float, Meta(gt=0)]
    max_packet_bytes: UInt
    protocol: int = PROTOCOL_VERSION


class TablesWanted(_ControlMessage, frozen=True, tag="tables_wanted"):
    """The server has not got the tables of these hashes yet: send them."""

    hashes: Annotated[list[TableHash], Meta(max_length=MAX_DONGLES * MAX_TABLES)]


class Command(_ControlMessage, frozen=True, tag="command"):
    """The server asks for something; it is void `expires_in_seconds` after it was received."""

    command_id: Text
    command: Text
    expires_in_seconds: Annotated[float, Meta(ge=0)]
    args: Details = {}
    dongle_id: Identifier | None = None
    dry_run: bool = False


class Error(_ControlMessage, frozen=True, tag="error"):
    """Why the connection is about to be closed."""

    code: Text
    message: LongText


class BacklogRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Packets of one start that wait at the agent: numbers first to last, their frames, age of the oldest."""

    start_id: StartId
    first_seq: Seq
    last_seq: Seq
    frames: UInt
    age_seconds: Annotated[float, Meta(ge=0)] | None


class LaneHello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One lane: `live` numbers begin at `next_seq` of this start; `backlog` in the agent's order."""

    dongle_id: Identifier
    lane: LaneName
    next_seq: Seq
    backlog: Annotated[list[BacklogRange], Meta(max_length=MAX_RANGES)] = []


class LanesHello(_ControlMessage, frozen=True, tag="lanes"):
    """Opens lanes on a data connection; a lane's index is its place in all lanes opened so far."""

    start_id: StartId
    lanes: Annotated[list[LaneHello], Meta(max_length=MAX_LANES)]
    protocol: int = PROTOCOL_VERSION


class LanesWelcome(_ControlMessage, frozen=True, tag="lanes_welcome"):
    """For each lane just opened: every number of this start up to `taken_through` is recorded; 0 is none."""

    taken_through: list[UInt]
    max_packet_bytes: UInt


AgentControlMessage = (
    Hello | Heartbeat | DevicesReport | Status | Log | Discovery | SignalTablePart | CommandStatus
)
ServerControlMessage = Welcome | TablesWanted | Command | Error
DataUpControlMessage = LanesHello
DataDownControlMessage = LanesWelcome | Error
ControlMessage = AgentControlMessage | ServerControlMessage | LanesHello | LanesWelcome

_encoder = msgspec.json.Encoder()
_agent_decoder: msgspec.json.Decoder[AgentControlMessage] = msgspec.json.Decoder(AgentControlMessage)
_server_decoder: msgspec.json.Decoder[ServerControlMessage] = msgspec.json.Decoder(ServerControlMessage)
_data_up_decoder: msgspec.json.Decoder[DataUpControlMessage] = msgspec.json.Decoder(DataUpControlMessage)
_data_down_decoder: msgspec.json.Decoder[DataDownControlMessage] = msgspec.json.Decoder(
    DataDownControlMessage
)


def encode_control_message(control_message: ControlMessage) -> str:
    """The JSON text of a control message."""
    return _encoder.encode(control_message).decode()


def table_parts(table_hash: str, table: bytes) -> Iterator[SignalTablePart]:
    """A serialised signal table as control messages."""
    for offset in range(0, len(table), TABLE_PART_BYTES):
        yield SignalTablePart(table_hash, len(table), offset, table[offset : offset + TABLE_PART_BYTES])


def decode_agent_control_message(text: str | bytes) -> AgentControlMessage:
    """What an agent says on /ws/agent. Raises ControlMessageError."""
    return _decode(_agent_decoder, text)


def decode_server_control_message(text: str | bytes) -> ServerControlMessage:
    """What the server says on /ws/agent. Raises ControlMessageError."""
    return _decode(_server_decoder, text)


def decode_data_up(text: str | bytes) -> DataUpControlMessage:
    """What an agent says in text on /ws/data. Raises ControlMessageError."""
    return _decode(_data_up_decoder, text)


def decode_data_down(text: str | bytes) -> DataDownControlMessage:
    """What the server says in text on /ws/data. Raises ControlMessageError."""
    return _decode(_data_down_decoder, text)


def _decode(decoder: msgspec.json.Decoder[_T], text: str | bytes) -> _T:
    if len(text) > MAX_CONTROL_MESSAGE_BYTES:
        raise ControlMessageError(
            f"message of {len(text)} bytes, at most {MAX_CONTROL_MESSAGE_BYTES} are allowed"
        )
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ControlMessageError(str(error)) from error
