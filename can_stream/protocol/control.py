"""Control messages: JSON text over the control WebSocket, tagged by `type`. See docs/wire-protocol.md.

Those of the data connection are in `lanes_control`. Unknown members are ignored, so that a newer side may say
more; a sender says to a side of version 1, which refuses them, only what version 1 has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from can_stream.protocol.errors import ControlMessageError
from can_stream.protocol.identity import Identifier, StartId
from can_stream.protocol.marker import ActivationName

PROTOCOL_VERSION: Final = 2
SUBPROTOCOLS: Final = ("can-edge-agent.v2", "can-edge-agent.v1")
"""Of WebSockets, in the order of preference; a side that names none speaks version 1."""
MAX_CONTROL_MESSAGE_BYTES: Final = 256 * 1024
MAX_DONGLES: Final = 64
MAX_LANES: Final = 2 * MAX_DONGLES
MAX_RANGES: Final = 2048
MAX_TABLES: Final = 8
TABLE_PART_BYTES: Final = 128 * 1024

_T = TypeVar("_T")

Text = Annotated[str, Meta(max_length=512)]
LongText = Annotated[str, Meta(max_length=8192)]
# All that every store and language on the way can hold.
UInt = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Int = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Version = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seq = Annotated[int, Meta(ge=1, le=2**53)]
HeartbeatSeconds = Annotated[float, Meta(ge=1, le=3600)]
PacketBytes = Annotated[int, Meta(ge=0, le=2**31 - 1)]
WallNs = UInt
Details = dict[str, Any]

TableHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
LaneName = Literal["frames", "signals"]
LANES: Final[tuple[LaneName, ...]] = ("frames", "signals")
ROWS_OF_LANE: Final[Mapping[str, str]] = {"frames": "frames", "signals": "values"}
"""What is counted in a lane, in words."""
LogLevel = Literal["debug", "info", "warning", "error"]
StatusCode = Annotated[int, Meta(ge=0, le=5)]


Confirms = Literal["bus", "adapter", "queue", "none"]
"""What tells that a frame was sent: its echo from the bus; the adapter's or the queue's word; nothing."""

CanEmptyQueue = Literal["counters", "helper", "probe"]
"""How it is known that nothing waits in a driver: by its counters, by a helper, by one probing frame."""


class RelaySide(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a dongle's gateway lets a relay do with it, by its own configuration and interface.

    `source`: its frames may be relayed; `transmit`: others' frames may be put on its bus, at most
    `max_age_seconds` old, up to the shares of its bit rate that the loads say. `can_empty_queue`: how it is
    known that nothing waits in the driver any more. `stopped`: why it lets nothing through now, or "".
    """

    source: bool = False
    transmit: bool = False
    confirms: Confirms = "none"
    can_empty_queue: CanEmptyQueue = "probe"
    max_age_seconds: Annotated[float, Meta(gt=0, le=3600)] | None = None
    max_bus_load: Annotated[float, Meta(gt=0, le=1)] = 0.3
    max_live_bus_load: Annotated[float, Meta(gt=0, le=1)] = 0.9
    dry_run: bool = False
    from_logs: bool = False
    stopped: Text = ""


class DongleInfo(msgspec.Struct, frozen=True, omit_defaults=True):
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
    relay: RelaySide | None = None


class ServiceStatus(msgspec.Struct, frozen=True):
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


class ControlMessageBase(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """Base of all control messages."""


class Hello(ControlMessageBase, frozen=True, tag="hello"):
    """First message of a control connection: who this is, since when, by which clocks, with which dongles.

    `relay`: it knows `relay_source`.
    """

    agent_id: Identifier
    start_id: StartId
    boot_id: Text
    monotonic_ns: UInt
    wall_ns: WallNs
    clock_synchronised: bool
    version: Text
    dongles: Annotated[list[DongleInfo], Meta(max_length=MAX_DONGLES)] = []
    protocol: Version = 1
    relay: bool = False


class Heartbeat(ControlMessageBase, frozen=True, tag="heartbeat"):
    """The agent is alive and its clocks say this."""

    monotonic_ns: UInt
    wall_ns: WallNs
    clock_synchronised: bool


class DevicesReport(ControlMessageBase, frozen=True, tag="devices_report"):
    """The dongles this agent has now; replaces the list of hello."""

    dongles: Annotated[list[DongleInfo], Meta(max_length=MAX_DONGLES)]


class Status(ControlMessageBase, frozen=True, tag="status"):
    """Services whose state is new; each replaces what was known of its `agent_service_id`."""

    services: Annotated[list[ServiceStatus], Meta(max_length=4 * MAX_DONGLES)]


class Log(ControlMessageBase, frozen=True, tag="log"):
    """One log line of the agent, about `dongle_id` where it is about one."""

    wall_ns: WallNs
    level: LogLevel
    source: Text
    message: LongText
    dongle_id: Identifier | None = None
    details: Details = {}


class Discovery(ControlMessageBase, frozen=True, tag="discovery"):
    """Something the agent found: `kind` in CamelCase, `slug` names it within its kind."""

    wall_ns: WallNs
    kind: Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z0-9]{0,63}(?!\n)$")]
    slug: Identifier
    dongle_id: Identifier | None = None
    details: Details = {}


class SignalTablePart(ControlMessageBase, frozen=True, tag="signal_table"):
    """A part, from `offset` on, of the serialised table of `size` bytes that has this `hash`."""

    hash: TableHash
    size: Annotated[int, Meta(ge=1, le=2**53)]
    offset: UInt
    part: Annotated[bytes, Meta(max_length=TABLE_PART_BYTES)]


class CommandStatus(ControlMessageBase, frozen=True, tag="command_status"):
    """Where a command stands on its gateway."""

    command_id: Text
    status: Literal["running", "done", "error", "timeout", "rejected", "expired", "cancelled"]
    exit_code: Int | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    error: LongText | None = None


class Welcome(ControlMessageBase, frozen=True, tag="welcome"):
    """The server's answer to hello: what it expects of this connection."""

    server_wall_ns: WallNs
    heartbeat_seconds: HeartbeatSeconds
    max_packet_bytes: PacketBytes
    protocol: Version = 1


class TablesWanted(ControlMessageBase, frozen=True, tag="tables_wanted"):
    """The server has not got the tables of these hashes yet: send them."""

    hashes: Annotated[list[TableHash], Meta(max_length=MAX_DONGLES * MAX_TABLES)]


class RelaySource(ControlMessageBase, frozen=True, tag="relay_source"):
    """What this dongle's frames are carried for from now on; None: for no activation any more."""

    dongle_id: Identifier
    activation: ActivationName | None = None


class Command(ControlMessageBase, frozen=True, tag="command"):
    """The server asks for something; it is void `expires_in_seconds` after it was received."""

    command_id: Text
    command: Text
    expires_in_seconds: Annotated[float, Meta(ge=0, le=1e10)]
    args: Details = {}
    dongle_id: Identifier | None = None
    dry_run: bool = False


class Error(ControlMessageBase, frozen=True, tag="error"):
    """Why the connection is about to be closed."""

    code: Text
    message: LongText


AgentControlMessage = (
    Hello | Heartbeat | DevicesReport | Status | Log | Discovery | SignalTablePart | CommandStatus
)
ServerControlMessage = Welcome | TablesWanted | RelaySource | Command | Error
ControlMessage = AgentControlMessage | ServerControlMessage

_encoder: Final = msgspec.json.Encoder()
_agent_decoder: msgspec.json.Decoder[AgentControlMessage] = msgspec.json.Decoder(AgentControlMessage)
_server_decoder: msgspec.json.Decoder[ServerControlMessage] = msgspec.json.Decoder(ServerControlMessage)


def version_of(subprotocol: str | None) -> int:
    """Which version a connection speaks on which this subprotocol was agreed, or none."""
    return 2 if subprotocol == SUBPROTOCOLS[0] else 1


def encode_control_message(control_message: ControlMessageBase) -> str:
    """The JSON text of a control message."""
    return _encoder.encode(control_message).decode()


def table_parts(table_hash: str, table: bytes) -> Iterator[SignalTablePart]:
    """A serialised signal table as control messages."""
    for offset in range(0, len(table), TABLE_PART_BYTES):
        yield SignalTablePart(table_hash, len(table), offset, table[offset : offset + TABLE_PART_BYTES])


def decode_agent_control_message(text: str | bytes) -> AgentControlMessage:
    """What an agent says on /ws/agent. Raises ControlMessageError."""
    return decode_control_text(_agent_decoder, text)


def decode_server_control_message(text: str | bytes) -> ServerControlMessage:
    """What the server says on /ws/agent. Raises ControlMessageError."""
    return decode_control_text(_server_decoder, text)


def decode_control_text(decoder: msgspec.json.Decoder[_T], text: str | bytes) -> _T:
    """A message within the bound of its size. Raises ControlMessageError."""
    try:
        size = len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode())
        if size > MAX_CONTROL_MESSAGE_BYTES:
            raise ControlMessageError(
                f"message of {size} bytes, at most {MAX_CONTROL_MESSAGE_BYTES} are allowed"
            )
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ControlMessageError(str(error)) from error
