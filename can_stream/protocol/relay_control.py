"""What both sides say in text on /ws/relay, where a server hands frames to the gateway of their bus.

docs/wire-protocol.md, section 9. Positions and totals are absolute: whichever side is ahead is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from can_stream.protocol.control import (
    MAX_DONGLES,
    PROTOCOL_VERSION,
    ControlMessageBase,
    Error,
    Text,
    UInt,
    Version,
    decode_control_text,
)
from can_stream.protocol.identity import Identifier, StartId
from can_stream.protocol.lanes_control import MAX_STARTS, Position
from can_stream.protocol.marker import ActivationName

NotSent = Literal[
    "listen_only",
    "error_frame",
    "unsupported",
    "unconfirmed",
    "not_allowed",
    "data_mismatch",
    "never",
    "superseded",
    "too_old",
    "asleep",
    "disabled",
    "gate",
    "dry_run",
    "trimmed",
    "deactivated",
    "gap",
]
"""Why a frame was not put on the bus: a closed list."""
NOT_SENT: Final[tuple[NotSent, ...]] = get_args(NotSent)
RecordId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}(?!\n)$")]
PingNumber = Annotated[int, Meta(ge=1, le=2**53)]
Milliseconds = Annotated[float, Meta(ge=0, le=1e10)]
_MAX_FRAMES: Final = 2**53
MAX_CURSORS: Final = 256
"""In all lists of one message: with the longest names and numbers they take four fifths of what it may."""


class Totals(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has become of the frames of one start: put on the bus, taken by adapter or queue, refused by
    reason, and those of which it cannot be known."""

    sent: Position = 0
    accepted: Position = 0
    in_doubt: Position = 0
    not_sent: dict[NotSent, Position] = {}


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that the start `start_id` put into the frames lane of `source_dongle_id` below `position` is
    settled, and this is what has become of it."""

    source_dongle_id: Identifier
    start_id: StartId
    position: Position
    totals: Totals = Totals()


Cursors = Annotated[list[Cursor], Meta(max_length=MAX_STARTS)]


class SinkHello(msgspec.Struct, frozen=True):
    """One dongle whose bus may be written to. `record_id` names the record in which it keeps its cursors."""

    dongle_id: Identifier
    record_id: RecordId
    cursors: Cursors = []


class RelayHello(ControlMessageBase, frozen=True, tag="relay_hello"):
    """First message of an agent: what its records say, at most MAX_CURSORS in all (`newest_that_fit`)."""

    start_id: StartId
    sinks: Annotated[list[SinkHello], Meta(max_length=MAX_DONGLES)]
    protocol: Version = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        _check_cursors([sink.cursors for sink in self.sinks])


class RelayPing(ControlMessageBase, frozen=True, tag="relay_ping"):
    """Whoever receives frames asks for its lease, and learns how long a message may have been on its way."""

    number: PingNumber


class Settled(ControlMessageBase, frozen=True, tag="settled"):
    """A dongle's cursor has moved; `sink_dongle_id` is whose bus it is."""

    sink_dongle_id: Identifier
    cursor: Cursor


class Credit(ControlMessageBase, frozen=True, tag="credit"):
    """So many frames in all may be handed for this dongle since the directions of number `since`.

    One that was on its way while newer directions were said counts from others, and is void.
    """

    sink_dongle_id: Identifier
    frames: Position
    since: UInt = 0


class SinkState(ControlMessageBase, frozen=True, tag="sink_state"):
    """How a sink stands for `activation`, None where nothing is relayed to it; of others it says nothing.

    `waits_for`: why it sends nothing now ("" where it does): lease, bus_load, queue... `latency_ms`: age at
    the echo since the last one, p50 and p99; None where nothing was sent.
    """

    sink_dongle_id: Identifier
    waits_for: Text = ""
    latency_ms: tuple[Milliseconds, Milliseconds] | None = None
    activation: ActivationName | None = None


class Direction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is relayed to a dongle. Items name it by its place in the list.

    `begins_anew`: what this gateway's record says does not count: another was served since; its floor is now.
    `cursors`: what the server knows to be settled. `dry_run`: judged and counted, never sent.
    """

    sink_dongle_id: Identifier
    source_dongle_id: Identifier
    activation: ActivationName
    dry_run: bool = False
    begins_anew: bool = False
    cursors: Cursors = []


class Directions(ControlMessageBase, frozen=True, tag="directions"):
    """The server's answer to hello, and again whenever one begins or ends. All that the sinks have queued is
    dropped unsettled: what is left of it is handed again, or follows as counts.

    `number` rises on a connection. At most MAX_CURSORS in all (`newest_that_fit`).
    """

    directions: Annotated[list[Direction], Meta(max_length=MAX_DONGLES)]
    number: UInt = 0

    def __post_init__(self) -> None:
        _check_cursors([direction.cursors for direction in self.directions])


class GroupStanding(msgspec.Struct, frozen=True, omit_defaults=True):
    """The group of a sink's dongle as its operator sees it, with remedies; for whoever asks at the gateway.

    `reason`: why it is not active. `closed`: why nothing is relayed to this dongle, "" where the way is open.
    """

    sink_dongle_id: Identifier
    group_id: Identifier
    mode: Literal["inactive", "active", "degraded"]
    reason: Text = ""
    closed: Text = ""


class RelayPong(ControlMessageBase, frozen=True, tag="relay_pong"):
    """The answer to a ping: the activations that are still on.

    `groups`: those of the hello's dongles, all of them, where one stands differently now; else None.
    """

    number: PingNumber
    activations: Annotated[list[ActivationName], Meta(max_length=MAX_DONGLES)]
    groups: Annotated[list[GroupStanding], Meta(max_length=MAX_DONGLES)] | None = None


FromSink = RelayHello | RelayPing | Settled | Credit | SinkState
ToSink = Directions | RelayPong | Error
_from_sink: msgspec.json.Decoder[FromSink] = msgspec.json.Decoder(FromSink)
_to_sink: msgspec.json.Decoder[ToSink] = msgspec.json.Decoder(ToSink)


def decode_from_sink(text: str | bytes) -> FromSink:
    """What an agent says in text on /ws/relay. Raises ControlMessageError."""
    return decode_control_text(_from_sink, text)


def decode_to_sink(text: str | bytes) -> ToSink:
    """What the server says in text on /ws/relay. Raises ControlMessageError."""
    return decode_control_text(_to_sink, text)


def newest_that_fit(lists: Sequence[Sequence[Cursor]]) -> list[list[Cursor]]:
    """Of lists of cursors, the newest of each last, what one message may say: the same share of each."""
    if sum(map(len, lists)) <= MAX_CURSORS:
        return [list(cursors) for cursors in lists]
    share = MAX_CURSORS // len(lists)
    return [list(cursors[-share:]) for cursors in lists]


def _check_cursors(lists: Sequence[Sequence[Cursor]]) -> None:
    count = sum(map(len, lists))
    if count > MAX_CURSORS:
        raise ValueError(f"{count} cursors, at most {MAX_CURSORS} are allowed in all")


def plus(one: Totals, **more: Any) -> Totals:
    """Totals with so many more `sent`, `accepted`, `in_doubt`, and of each reason in `not_sent`.

    Each stays within its bound: who was lied to about totals must still be able to say and to store them.
    """
    not_sent = dict(one.not_sent)
    for reason, frames in more.pop("not_sent", {}).items():
        not_sent[reason] = min(_MAX_FRAMES, not_sent.get(reason, 0) + frames)
    counts = {name: min(_MAX_FRAMES, getattr(one, name) + frames) for name, frames in more.items()}
    return msgspec.structs.replace(one, not_sent=not_sent, **counts)
