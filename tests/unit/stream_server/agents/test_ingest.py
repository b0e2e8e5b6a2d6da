"""One data connection without its socket: what is recorded, shown, counted, acknowledged and refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.errors import PacketError, SessionError
from can_stream.protocol.hop import Ack, Envelope, HopEncoder, RangeKind, decode_ack
from can_stream.protocol.lanes_control import (
    BacklogRange,
    LaneHello,
    LanesHello,
    LanesWelcome,
    StartBooks,
)
from can_stream.protocol.packet_head import MAX_PACKET_BYTES, PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_clock
from can_stream.text.timestamps import format_timestamp
from stream_server.agents.ingest import Backlog, DataConnection
from stream_server.errors import ApiError, StorageError
from stream_server.recording import recorded_pages, recorder
from stream_server.recording.recorded_pages import Cursor
from stream_server.storage.database import Database
from tests.helpers.conditions import Gathered
from tests.helpers.server_parts import (
    FIRST_NS,
    OTHER_START,
    START,
    TABLE,
    GatedDatabase,
    ServerParts,
    dongle,
    enrol,
    frames_packet,
    gap_packet,
    new_recording,
    new_storage,
    obstruct,
    values_packet,
)
from tests.helpers.signal_tables import gear_table

LIVE, BACKLOG = RangeKind.LIVE, RangeKind.BACKLOG
FRAMES: Final = LaneHello("can0", "frames", 1)
VALUES: Final = LaneHello("can0", "signals", 1)
OLD: Final = BacklogRange(OTHER_START, 1, 9, None, 90, 2.0)


@dataclass
class Wire:
    """An agent's end of a data connection. `acks`: what came back."""

    connection: DataConnection
    encoder: HopEncoder = field(default_factory=HopEncoder)
    acks: Gathered[Ack] = field(default_factory=Gathered)

    async def open(self, *lanes: LaneHello, start_id: str = START) -> LanesWelcome:
        return await self.connection.open(LanesHello(start_id, list(lanes)))

    async def send(self, packet: bytes, kind: RangeKind = LIVE, lane: int = 0) -> None:
        await self.connection.receive(self.encoder.encode(Envelope(lane, kind, packet)))

    async def take(self, message: bytes) -> None:
        self.acks.append(decode_ack(message))


class Parts(ServerParts):
    """A server that an agent connects to."""

    def wire(self, agent_id: str = "van7") -> Wire:
        return Wire(
            DataConnection(
                agent_id,
                self.fleet,
                self.hub,
                self.recorder,
                self.last_values,
                self.metrics,
                self.relay,
            )
        )

    async def opened(self, *lanes: LaneHello, start_id: str = START) -> Wire:
        wire = self.wire()
        await wire.open(*lanes, start_id=start_id)
        return wire

    async def recorded(self) -> list[int]:
        """The numbers in the frames lane, once nothing waits."""
        await self.recorder.close()
        records, _ = await self.recording.read(
            partial(recorded_pages.page, dongle_id="can0", after=Cursor(), from_ns=None, to_ns=None)
        )
        return [record.seq for record in records if isinstance(record.body, bytes)]

    async def committed(self) -> None:
        """What has come is in storage."""
        async with asyncio.timeout(10), self.recorder._flushed:
            await self.recorder._flushed.wait()

    def last_value(self, signal: int) -> int | None:
        columns = self.last_values.of("can0").columns()
        return dict(zip(columns.signal.tolist(), columns.bits.tolist(), strict=True)).get(signal)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    database, recording = Database(new_storage(tmp_path)), GatedDatabase(new_recording(tmp_path))
    await enrol(database, "van7", "can0", "can1")
    await enrol(database, "van8", "other")
    made = Parts(database, recording, lambda _hash: gear_table())
    await made.start()
    yield made
    recording.gate.set()
    await made.recorder.close()
    await recording.close()
    await database.close()


async def test_live_frames_are_recorded_and_shown_backlog_is_only_recorded(parts: Parts) -> None:
    wire, console = await parts.opened(LaneHello("can0", "frames", 1, [OLD])), parts.watch("can0")
    await wire.send(frames_packet(1, count=2))
    await wire.send(frames_packet(1, count=3, start_id=OTHER_START), BACKLOG)
    shown = console.told("can_frame")
    assert [(one["id"], one["data_hex"]) for one in shown] == [
        ("0x100", " ".join(["01"] * 8)),
        ("0x101", " ".join(["01"] * 8)),
    ]
    assert [parts.counted(f"{name}_received") for name in ("packets", "frames")] == [2, 5]
    assert await parts.recorded() == [1, 1]


async def test_the_console_is_told_that_a_backlog_is_on_its_way_and_that_it_is_in(parts: Parts) -> None:
    console = parts.watch("can0")
    listed = [BacklogRange(OTHER_START, 1, 1, None, 10, 60.0), BacklogRange(OTHER_START, 3, 3, None, 5, None)]
    wire = await parts.opened(LaneHello("can0", "frames", 1, listed))
    gap, announced = console.told()
    assert (gap["where"], gap["frames"], gap["lane"]) == ("backlog", 15, "frames")
    assert gap["from"] < gap["to"], "as old as the oldest that waits"
    assert announced["message"] == "backlog of 15 frames is on its way to the recording"
    await wire.send(frames_packet(1, count=10, start_id=OTHER_START), BACKLOG)
    await wire.send(frames_packet(3, count=5, start_id=OTHER_START), BACKLOG)
    begun, complete = console.told("log")
    assert begun["message"] == "backlog: 10 frames received, 5 to come"
    assert complete["message"] == "backlog complete: 15 frames are in the recording"
    assert complete["details"] == {"lane": "frames", "received_frames": 15, "waiting_frames": 0}
    assert parts.watch("can1").told() == []


def test_a_long_backlog_is_told_of_every_five_seconds_and_at_its_end() -> None:
    backlog = Backlog(LaneHello("can0", "signals", 1, [OLD]), 90)
    told = {second: backlog.received(8, float(second)) for second in range(12)}
    assert [second for second, text in told.items() if text] == [0, 5, 10, 11]
    assert told[5] == "backlog: 48 values received, 42 to come"
    assert told[11] == "backlog complete: 96 values are in the recording"
    assert backlog.received(8, 20.0) is None
    assert Backlog(FRAMES, 0).received(8, 0.0) is None


async def test_a_packet_that_comes_again_is_neither_shown_nor_recorded_again_but_acknowledged(
    parts: Parts,
) -> None:
    wire, console = await parts.opened(FRAMES), parts.watch("can0")
    await wire.send(frames_packet(1))
    listed = BacklogRange(START, 1, 1, None, 1, 0.1)
    again = await parts.opened(LaneHello("can0", "frames", 2, [listed]))
    acks = asyncio.create_task(again.connection.send_acks(again.take))
    await again.send(frames_packet(1), BACKLOG)
    await again.acks.until(1)
    acks.cancel()
    assert again.acks == [Ack(0, BACKLOG, PacketNumber(START, 1))]
    assert len(console.told("can_frame")) == 1
    assert parts.counted("packets_duplicate") == 1
    assert await parts.recorded() == [1]


async def test_a_start_that_is_taken_up_again_shows_nothing_twice(parts: Parts) -> None:
    first = await parts.opened(LaneHello("can0", "frames", 2, [BacklogRange(START, 1, 1, None, 1, 0.1)]))
    await first.send(frames_packet(2))
    again, console = await parts.opened(FRAMES), parts.watch("can0")
    await again.send(frames_packet(1))
    await again.send(frames_packet(2))
    await again.send(frames_packet(3))
    assert [one["data_hex"][:2] for one in console.told("can_frame")] == ["01", "03"]
    assert await parts.recorded() == [1, 2, 3]


async def test_acks_name_the_lane_and_the_range_they_are_of(parts: Parts) -> None:
    wire = await parts.opened(LaneHello("can0", "frames", 1, [OLD]), LaneHello("can1", "signals", 1))
    acks = asyncio.create_task(wire.connection.send_acks(wire.take))
    await wire.send(frames_packet(1))
    await wire.send(frames_packet(2, start_id=OTHER_START), BACKLOG)
    await wire.send(values_packet(1, 0), lane=1)
    await wire.send(values_packet(2, 0), lane=1)
    await wire.acks.until(3)
    acks.cancel()
    assert set(wire.acks) == {
        Ack(0, LIVE, PacketNumber(START, 1)),
        Ack(0, BACKLOG, PacketNumber(OTHER_START, 2)),
        Ack(1, LIVE, PacketNumber(START, 2)),
    }


async def test_a_welcome_says_through_where_each_lane_is_recorded(parts: Parts) -> None:
    wire = await parts.opened(FRAMES)
    await wire.send(frames_packet(1))
    await wire.send(frames_packet(2))
    welcome = await parts.wire().open(LaneHello("can0", "frames", 3), LaneHello("can1", "frames", 1))
    books = [[StartBooks(START, 2, 0, 0)], [StartBooks(START, 0, 0, 0)]]
    assert welcome == LanesWelcome([2, 0], MAX_PACKET_BYTES, books)


@pytest.mark.parametrize(
    ("lanes", "error", "text"),
    [
        ([FRAMES, VALUES, FRAMES], SessionError, "a lane is listed twice"),
        ([LaneHello("nobodys", "frames", 1)], ApiError, "404 DONGLE_NOT_FOUND"),
        ([LaneHello("other", "frames", 1)], ApiError, "403 DONGLE_CONFLICT: other belongs to another agent"),
    ],
)
async def test_lanes_that_cannot_be_opened_are_refused(
    parts: Parts, lanes: list[LaneHello], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await parts.wire().open(*lanes)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        bytes(range(256)),
        b"\xff" * 300_000,
        HopEncoder().encode(Envelope(0, LIVE, b"\0" * 2_000_000)),
    ],
    ids=["empty", "short", "noise", "long", "inflates too far"],
)
async def test_bytes_that_are_no_envelope_are_a_packet_error(parts: Parts, message: bytes) -> None:
    wire = await parts.opened(FRAMES)
    with pytest.raises(PacketError):
        await wire.connection.receive(message)
    assert await parts.recorded() == []


@pytest.mark.parametrize(
    ("packet", "kind", "lane", "error", "text"),
    [
        (b"", LIVE, 0, PacketError, "1 byte expected"),
        (frames_packet(1)[:-1], LIVE, 0, PacketError, "bytes expected"),
        (frames_packet(1) + b"\0", LIVE, 0, PacketError, "behind"),
        (b"\x09" + frames_packet(1)[1:], LIVE, 0, PacketError, "packet version 9"),
        (frames_packet(1), LIVE, 2, SessionError, "lane 2 was not opened"),
        (frames_packet(1), LIVE, 1, SessionError, "a packet of frames in the signals lane"),
        (values_packet(1, 0), LIVE, 0, SessionError, "a packet of signals in the frames lane"),
        (frames_packet(2), LIVE, 0, SessionError, "live packet 2 .* where 1 "),
        (frames_packet(1, start_id=OTHER_START), LIVE, 0, SessionError, "live packet 1 of start 0+b2"),
        (frames_packet(1), BACKLOG, 0, SessionError, "backlog packet 1 of start 0+a1 was not announced"),
    ],
)
async def test_a_packet_that_has_no_place_is_refused_and_leaves_nothing(
    parts: Parts, packet: bytes, kind: RangeKind, lane: int, error: type[Exception], text: str
) -> None:
    wire, console = await parts.opened(FRAMES, VALUES), parts.watch("can0")
    with pytest.raises(error, match=text):
        await wire.send(packet, kind, lane)
    assert console.told() == []
    assert len(parts.last_values.of("can0")) == 0
    await (await parts.opened(FRAMES)).send(frames_packet(1))
    assert await parts.recorded() == [1], "the next connection is none the worse for it"


async def test_a_packet_whose_lane_storage_has_given_up_is_refused_and_not_shown(parts: Parts) -> None:
    wire, console = await parts.opened(FRAMES), parts.watch("can0")
    await parts.recording.write(partial(obstruct, seq=1))
    await wire.send(frames_packet(1))
    console.told()
    assert await parts.recorded() == [1], "what is in the way, which is not this packet"
    with pytest.raises(StorageError, match="IntegrityError"):
        await wire.send(frames_packet(2))
    assert console.told() == []


async def test_nothing_more_is_taken_in_while_too_much_waits_for_storage(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING_BYTES", 10)
    wire = await parts.opened(FRAMES)
    assert isinstance(parts.recording, GatedDatabase)
    parts.recording.gate.clear()
    await wire.send(frames_packet(1))
    parts.recording.asked.clear()
    second = asyncio.create_task(wire.send(frames_packet(2)))
    await parts.recording.asked.wait()
    assert not second.done()
    assert parts.counted("packets_received") == 1
    parts.recording.gate.set()
    await second
    assert await parts.recorded() == [1, 2]


async def test_backlog_values_count_only_where_they_are_newer(parts: Parts) -> None:
    parts.last_values.declare("can0", TABLE)
    wire = await parts.opened(
        LaneHello("can0", "signals", 1, [BacklogRange(OTHER_START, 1, 9, None, 9, None)])
    )
    await wire.send(values_packet(5, 0, start_id=OTHER_START), BACKLOG)
    assert parts.last_value(0) == 5
    await wire.send(values_packet(1, 0, 1))
    assert (parts.last_value(0), parts.last_value(1)) == (1, 1), "what is live counts, however old its time"
    await wire.send(values_packet(9, 0, start_id=OTHER_START), BACKLOG)
    assert (parts.last_value(0), parts.last_value(1)) == (9, 1)
    await wire.send(values_packet(7, 0, 1, start_id=OTHER_START), BACKLOG)
    assert (parts.last_value(0), parts.last_value(1)) == (9, 7)
    assert parts.counted("values_received") == 6


async def test_values_are_shown_from_the_moment_their_dongle_sends_no_frames(parts: Parts) -> None:
    wire, console = await parts.opened(LaneHello("can0", "signals", 1, [OLD])), parts.watch("can0")
    await wire.send(values_packet(1, 0))
    assert console.told() == [], "its frames say the same"
    await parts.fleet.devices("van7", [dongle("can0", frames="off")], "test")
    await wire.send(values_packet(2, 0))
    await wire.send(values_packet(1, 0, start_id=OTHER_START), BACKLOG)
    (shown,) = console.told("signals")
    assert (shown["message"], shown["values"]) == ("Drive", {"Gear": 2})


async def test_a_gap_is_told_with_what_is_known_of_it(parts: Parts) -> None:
    wire, console = await parts.opened(FRAMES, VALUES), parts.watch("can0")
    last_ns = FIRST_NS + 1_000_000_000
    await wire.send(gap_packet(1, Gap(GapReason.START, 1, None)))
    await wire.send(gap_packet(1, Gap(GapReason.START, 1, None)), lane=1)
    await wire.send(gap_packet(3, Gap(GapReason.WINDOW, 2, 7, FIRST_NS, last_ns)), lane=1)
    await parts.committed()
    start, window = console.told("gap")
    assert start["gap_id"] != window["gap_id"]
    assert start == start | {
        "lane": "frames",
        "frames": None,
        "from": None,
        "to": None,
        "where": "agent_start",
    }
    assert window == window | {
        "lane": "signals",
        "frames": 7,
        "from": format_timestamp(FIRST_NS // 1000),
        "to": format_timestamp(last_ns // 1000),
        "where": "agent_window",
    }


async def test_a_start_is_told_by_the_values_where_no_frames_are_sent(parts: Parts) -> None:
    await parts.fleet.devices("van7", [dongle("can0", frames="off")], "test")
    wire, console = await parts.opened(VALUES), parts.watch("can0")
    await wire.send(gap_packet(1, Gap(GapReason.START, 1, None)))
    await parts.committed()
    assert [gap["lane"] for gap in console.told("gap")] == ["signals"]


def clock_packet(seq: int, *, synchronised: bool, start_id: str = START) -> bytes:
    return encode_clock(PacketNumber(start_id, seq), ClockRecord("boot", 5, synchronised))


async def test_frames_are_marked_while_the_newest_word_on_their_clock_is_that_it_is_wrong(
    parts: Parts,
) -> None:
    listed = [BacklogRange(START, 1, 2, None, 0, None), BacklogRange(OTHER_START, 9, 9, None, 0, None)]
    wire, console = await parts.opened(LaneHello("can0", "frames", 3, listed)), parts.watch("can0")

    async def marked(seq: int) -> bool:
        await wire.send(frames_packet(seq))
        (frame,) = console.told("can_frame")
        return "clock_synchronised" in frame

    assert not await marked(3)
    await wire.send(clock_packet(4, synchronised=False))
    assert await marked(5)
    await wire.send(clock_packet(1, synchronised=True), BACKLOG)
    assert await marked(6), "an older word that comes late"
    await wire.send(clock_packet(9, synchronised=True, start_id=OTHER_START), BACKLOG)
    assert await marked(7), "the word of another start"
    await wire.send(clock_packet(8, synchronised=True))
    assert not await marked(9)
