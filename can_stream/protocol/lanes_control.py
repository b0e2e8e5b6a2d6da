"""What opens lanes on a data connection: JSON text, in version 1 without positions. docs/wire-protocol.md."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from can_stream.protocol.control import (
    MAX_LANES,
    MAX_RANGES,
    PROTOCOL_VERSION,
    ControlMessageBase,
    Error,
    LaneName,
    PacketBytes,
    Seq,
    UInt,
    Version,
    decode_control_text,
    encode_control_message,
)
from can_stream.protocol.identity import Identifier, StartId
from can_stream.protocol.marker import ActivationName

MAX_STARTS: Final = 64
# Of frames: a place in a lane, or how many.
Position = Annotated[int, Meta(ge=0, le=2**53)]
TakenThrough = Annotated[int, Meta(ge=0, le=2**53)]
# More than any machine runs, and little enough to be counted back from now.
AgeSeconds = Annotated[float, Meta(ge=0, le=1e10)]


class BacklogRange(msgspec.Struct, frozen=True, array_like=True):
    """Packets of one start that wait at the agent: numbers first to last, their frames, age of the oldest.

    `position`: how many frames the start had put into the lane before them; None where that is not known,
    because they were made by an agent that did not count them. `activation`: what they are carried for, as
    the last marker before them says, None where that is none; no range has packets of two.
    """

    start_id: StartId
    first_seq: Seq
    last_seq: Seq
    position: Position | None
    frames: Position
    age_seconds: AgeSeconds | None
    activation: ActivationName | None = None


class LedgerEntry(msgspec.Struct, frozen=True, array_like=True):
    """A start that the agent's own file knows: its last number, the frames it made, those acknowledged."""

    start_id: StartId
    last_seq: UInt
    frames: Position
    acknowledged: Position


class LaneHello(msgspec.Struct, frozen=True, omit_defaults=True):
    """One lane: `live` numbers begin at `next_seq` of this start; `backlog` in the agent's order.

    `next_frame`: how many frames this start has put into the lane; None in version 1. `complete`: all is
    listed that this process and its spool's file hold, which has been read whole. `starts`: the ledger, this
    start's own entry included.
    """

    dongle_id: Identifier
    lane: LaneName
    next_seq: Seq
    backlog: Annotated[list[BacklogRange], Meta(max_length=MAX_RANGES)] = []
    next_frame: Position | None = None
    complete: bool = False
    starts: Annotated[list[LedgerEntry], Meta(max_length=MAX_STARTS)] = []


class LanesHello(ControlMessageBase, frozen=True, tag="lanes"):
    """Opens lanes on a data connection; a lane's index is its place in all lanes opened so far.

    `ages`: the agent answers pings there by the ages of its packets.
    """

    start_id: StartId
    lanes: Annotated[list[LaneHello], Meta(max_length=MAX_LANES)]
    protocol: Version = 1
    ages: bool = False


class StartBooks(msgspec.Struct, frozen=True, array_like=True):
    """What the server has of one start in one lane, in frames: recorded, in gaps, in holes."""

    start_id: StartId
    recorded: Position
    in_gaps: Position
    in_holes: Position


LaneBooks = Annotated[list[StartBooks], Meta(max_length=MAX_STARTS)]


class LanesWelcome(ControlMessageBase, frozen=True, tag="lanes_welcome"):
    """For each lane just opened: each number of this start up to `taken_through` is stored for good.

    `books`: for each lane, what the server has of each start that its hello named; nothing in version 1.
    `ages`: it pings, and takes ages.
    """

    taken_through: Annotated[list[TakenThrough], Meta(max_length=MAX_LANES)]
    max_packet_bytes: PacketBytes
    books: Annotated[list[LaneBooks], Meta(max_length=MAX_LANES)] = msgspec.field(default_factory=list)
    ages: bool = False


class _Range1(msgspec.Struct, frozen=True, array_like=True):
    start_id: StartId
    first_seq: Seq
    last_seq: Seq
    frames: Position
    age_seconds: AgeSeconds | None


class _LaneHello1(msgspec.Struct, frozen=True, omit_defaults=True):
    dongle_id: Identifier
    lane: LaneName
    next_seq: Seq
    backlog: Annotated[list[_Range1], Meta(max_length=MAX_RANGES)] = []


class _LanesHello1(ControlMessageBase, frozen=True, tag="lanes"):
    start_id: StartId
    lanes: Annotated[list[_LaneHello1], Meta(max_length=MAX_LANES)]
    protocol: Version = 1


_up_decoder: Final[msgspec.json.Decoder[LanesHello]] = msgspec.json.Decoder(LanesHello)
_up_decoder_1: Final[msgspec.json.Decoder[_LanesHello1]] = msgspec.json.Decoder(_LanesHello1)
_down_decoder: Final[msgspec.json.Decoder[LanesWelcome | Error]] = msgspec.json.Decoder(LanesWelcome | Error)


def encode_lanes(hello: LanesHello, version: int) -> str:
    """The JSON text for a side that speaks `version`."""
    if version == PROTOCOL_VERSION:
        return encode_control_message(msgspec.structs.replace(hello, protocol=version))
    lanes = [
        _LaneHello1(
            lane.dongle_id,
            lane.lane,
            lane.next_seq,
            [
                _Range1(one.start_id, one.first_seq, one.last_seq, one.frames, one.age_seconds)
                for one in lane.backlog
            ],
        )
        for lane in hello.lanes
    ]
    return encode_control_message(_LanesHello1(hello.start_id, lanes))


def decode_data_up(text: str | bytes, version: int = PROTOCOL_VERSION) -> LanesHello:
    """What an agent that speaks `version` says in text on /ws/data. Raises ControlMessageError."""
    if version == PROTOCOL_VERSION:
        return decode_control_text(_up_decoder, text)
    hello = decode_control_text(_up_decoder_1, text)
    lanes = [
        LaneHello(
            lane.dongle_id,
            lane.lane,
            lane.next_seq,
            [
                BacklogRange(one.start_id, one.first_seq, one.last_seq, None, one.frames, one.age_seconds)
                for one in lane.backlog
            ],
        )
        for lane in hello.lanes
    ]
    return LanesHello(hello.start_id, lanes, hello.protocol)


def decode_data_down(text: str | bytes) -> LanesWelcome | Error:
    """What the server says in text on /ws/data. Raises ControlMessageError."""
    return decode_control_text(_down_decoder, text)
