"""The recorder: what is in storage before it is acknowledged, and what is not acknowledged."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Row, select

from can_stream.lanes.opening import Opening
from can_stream.lanes.receiver import LaneConnection
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import LaneName
from can_stream.protocol.errors import SessionError
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.packet_head import PacketKind, PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    decode_packet,
    encode_clock,
)
from stream_server.errors import StorageError
from stream_server.metrics import Metrics
from stream_server.recording import recorded_pages
from stream_server.recording import recorder as module
from stream_server.recording.recorder import Lane, Recorder
from stream_server.storage import recording_schema as schema
from tests.helpers.conditions import Gathered
from tests.helpers.server_parts import (
    OTHER_START,
    START,
    GatedDatabase,
    clear_away,
    empty,
    fill,
    frames,
    frames_packet,
    gap_packet,
    new_recording,
    obstruct,
    values_packet,
)

LIVE, BACKLOG = RangeKind.LIVE, RangeKind.BACKLOG
MANY: Final = 2000
"""Frames of a packet that needs new pages of the database."""


@dataclass
class Connected:
    """One lane on a data connection. `acks`: (range, start, number), each with what was stored by then."""

    recorder: Recorder
    path: Path
    lane: Lane = field(init=False)
    session: LaneConnection = field(init=False)
    opening: Opening = field(init=False)
    acks: Gathered[tuple[RangeKind, str, int]] = field(default_factory=Gathered)
    stored: list[int] = field(default_factory=list)

    def acknowledge(self) -> None:
        with sqlite3.connect(self.path) as plain:
            self.stored.append(plain.execute("SELECT count(*) FROM packets").fetchone()[0])
        for kind, number in self.session.acks():
            self.acks.append((kind, *number))

    def send(self, body: bytes, kind: RangeKind = LIVE) -> bool:
        """One packet. Whether it is new."""
        packet = decode_packet(body)
        is_new = self.session.received(kind, packet)
        if is_new:
            self.recorder.add_packet(self.lane, packet, body, kind)
        else:
            self.recorder.wake(self.lane)
        return is_new


@dataclass
class Server:
    """The recorder of a server that starts with what an earlier one left."""

    database: GatedDatabase
    commits: list[int]
    metrics: Metrics = field(default_factory=Metrics)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.database, self.metrics, lambda: self.seconds)
        self.recorder.start()

    async def connect(
        self,
        *backlog: BacklogRange,
        lane: LaneName = "frames",
        dongle_id: str = "can0",
        next_seq: int = 1,
        start_id: str = START,
        clock: ClockRecord | None = None,
        **version_2: Any,
    ) -> Connected:
        hello = LaneHello(dongle_id, lane, next_seq, list(backlog), **version_2)
        made = Connected(self.recorder, self.database.path)
        made.lane, made.session, made.opening = await self.recorder.open_lane(
            dongle_id, hello, start_id, made.acknowledge, clock
        )
        return made

    async def restarted(self) -> Server:
        await self.recorder.close()
        return Server(self.database, self.commits)

    async def packets(self) -> list[Row[Any]]:
        table = schema.packets
        query = select(schema.lane_starts.c.start_id, table).join(
            schema.lane_starts, table.c.start_pk == schema.lane_starts.c.id
        )
        return await self.database.read(
            lambda c: list(c.execute(query.order_by(table.c.start_pk, table.c.seq)))
        )

    async def gaps(self) -> list[Row[Any]]:
        query = select(schema.gaps).order_by(schema.gaps.c.id)
        return await self.database.read(lambda c: list(c.execute(query)))

    def counted(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"stream_server_{name}_total")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    commits: list[int] = []
    database = GatedDatabase(new_recording(tmp_path), lambda _seconds, jobs: commits.append(jobs))
    made = Server(database, commits)
    yield made
    database.gate.set()
    await made.recorder.close()
    await database.close()


async def test_what_came_within_a_moment_is_one_commit_and_one_ack_for_each_lane(server: Server) -> None:
    one, other = await server.connect(), await server.connect(lane="signals", dongle_id="can1")
    before = len(server.commits)
    for seq in (1, 2, 3):
        one.send(frames_packet(seq, count=10))
    other.send(values_packet(1, 5, 6))
    await one.acks.until(1)
    await other.acks.until(1)
    assert (one.acks, other.acks) == ([(LIVE, START, 3)], [(LIVE, START, 1)])
    assert one.stored == other.stored == [4], "all that is acknowledged is there, and in one commit"
    assert len(server.commits) == before + 1
    assert [server.counted(f"{name}_recorded") for name in ("packets", "frames", "values")] == [4, 30, 2]


async def test_the_recording_holds_the_packets_as_they_came(server: Server) -> None:
    connected = await server.connect(BacklogRange(OTHER_START, 4, 4, None, 3, 1.5))
    live, late = frames_packet(1, count=2), frames_packet(4, count=3, start_id=OTHER_START)
    gap = gap_packet(2, Gap(GapReason.WINDOW, 2, 7, 10, 20))
    connected.send(live)
    connected.send(late, BACKLOG)
    connected.send(gap)
    await connected.acks.until(2)
    old, one = await server.packets()
    (two,) = await server.gaps()
    assert (old.start_id, old.seq, old.body, old.is_backlog) == (OTHER_START, 4, late, True), (
        "its start is older"
    )
    assert (one.start_id, one.seq, one.body, one.is_backlog) == (START, 1, live, False)
    assert (two.reason, two.frames, two.first_ns, two.last_ns) == (GapReason.WINDOW, 7, 10, 20)
    assert [one.first_ns, one.last_ns] == frames(1, 2).timestamp_ns.tolist()
    assert (server.counted("gaps"), server.counted("packets_recorded")) == (1, 2)


async def test_a_packet_that_comes_again_is_acknowledged_and_stored_once(server: Server) -> None:
    connected = await server.connect()
    server.database.gate.clear()
    connected.send(frames_packet(1))
    await server.database.until_asked()
    again = Connected(server.recorder, server.database.path)
    again.lane, hello = connected.lane, LaneHello("can0", "frames", 1)
    again.session = LaneConnection(again.lane.receiver, hello, START)
    again.lane.acknowledge = again.acknowledge
    assert not again.send(frames_packet(1)), "it is being stored"
    server.database.gate.set()
    await again.acks.until(1)
    listed = BacklogRange(START, 1, 1, None, 1, None)
    third = await server.connect(listed, next_seq=2)
    assert third.opening.starts[START].holes == [], "it is here already"
    assert not third.send(frames_packet(1), BACKLOG)
    await third.acks.until(1)
    assert third.acks == [(BACKLOG, START, 1)]
    assert len(await server.packets()) == 1
    assert server.counted("packets_recorded") == 1


async def test_what_comes_during_a_commit_is_acknowledged_with_the_next(server: Server) -> None:
    connected = await server.connect()
    server.database.gate.clear()
    connected.send(frames_packet(1))
    await server.database.until_asked()
    connected.send(frames_packet(2))
    assert connected.acks == []
    server.database.gate.set()
    await connected.acks.until(2)
    assert connected.acks == [(LIVE, START, 1), (LIVE, START, 2)]
    assert connected.stored == [1, 2]


async def test_a_refusal_of_storage_acknowledges_nothing_is_said_and_costs_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    connected = await server.connect()
    await server.database.write(fill)
    connected.send(frames_packet(1, count=MANY))
    async with asyncio.timeout(10):
        while server.database.fault is None:
            await server.database.until_asked()
    connected.send(frames_packet(2, count=MANY))
    await server.database.until_asked()
    assert "full" in (server.database.fault or "")
    assert (connected.acks, await server.packets()) == ([], [])
    await server.database.write_alone(empty)
    await connected.acks.until(1)
    assert connected.acks == [(LIVE, START, 2)], "in one go, once there is room"
    assert [(row.seq, row.frames) for row in await server.packets()] == [(1, MANY), (2, MANY)]
    assert server.counted("packets_recorded") == 2


async def test_no_lane_is_opened_over_packets_that_storage_refuses(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "_DRAIN_SECONDS", 0.3)
    connected = await server.connect()
    await server.database.write(fill)
    connected.send(frames_packet(1, count=MANY))
    with pytest.raises(StorageError, match="full"):
        await server.connect(BacklogRange(START, 1, 1, None, MANY, None), next_seq=2)
    await server.database.write_alone(empty)
    again = await server.connect(BacklogRange(START, 1, 1, None, MANY, None), next_seq=2)
    assert again.opening.starts[START].holes == []
    assert again.opening.starts[START].through == 1


async def test_a_packet_that_cannot_be_stored_stops_its_lane_and_no_other(server: Server) -> None:
    broken = await server.connect()
    await server.database.write(partial(obstruct, seq=2))
    other = await server.connect(dongle_id="can1")
    broken.send(frames_packet(1))
    broken.send(frames_packet(2))
    other.send(frames_packet(1))
    await other.acks.until(1)
    assert other.acks == [(LIVE, START, 1)]
    with pytest.raises(StorageError, match="a packet cannot be stored: IntegrityError"):
        broken.send(frames_packet(3))
    assert broken.acks == []
    assert server.counted("packets_recorded") == 1
    await server.database.write(clear_away)
    again = await server.connect()
    for seq in (1, 2, 3):
        assert again.send(frames_packet(seq))
    await again.acks.until(1)
    assert again.acks == [(LIVE, START, 3)]


async def test_there_is_no_room_while_too_much_waits(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = frames_packet(1, count=100), frames_packet(2)
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", len(first))
    connected = await server.connect()
    server.database.gate.clear()
    connected.send(first)
    async with asyncio.timeout(10):
        await server.recorder.room()
    connected.send(second)
    waiting = asyncio.create_task(server.recorder.room())
    await server.database.until_asked()
    assert not waiting.done()
    server.database.gate.set()
    async with asyncio.timeout(10):
        await waiting
    await connected.acks.until(1)


async def test_packets_that_are_given_up_make_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 10)
    connected = await server.connect()
    connected.lane.start_keys = {}
    connected.send(frames_packet(1))
    async with asyncio.timeout(10):
        await server.recorder.room()
    with pytest.raises(StorageError):
        connected.send(frames_packet(2))


async def test_a_hole_shrinks_with_what_arrives_also_over_a_restart_and_ends(server: Server) -> None:
    listed = BacklogRange(OTHER_START, 3, 5, None, 30, 9.0)
    connected = await server.connect(listed)
    assert holes(connected) == [(3, 5, 30)]
    connected.send(frames_packet(3, count=10, start_id=OTHER_START), BACKLOG)
    await connected.acks.until(1)
    again = await server.restarted()
    connected = await again.connect(listed)
    assert holes(connected) == [(3, 5, 20)]
    assert not connected.send(frames_packet(3, count=10, start_id=OTHER_START), BACKLOG)
    for seq in (4, 5):
        assert connected.send(frames_packet(seq, count=10, start_id=OTHER_START), BACKLOG)
    await connected.acks.until(1)
    assert connected.acks == [(BACKLOG, OTHER_START, 5)]
    last = await (await again.restarted()).connect(listed)
    assert holes(last) == []
    assert [row.kind for row in await server.packets()] == [PacketKind.FRAMES] * 3, "and nothing became a gap"
    await last.recorder.close()


def holes(connected: Connected, start_id: str = OTHER_START) -> list[tuple[int, int, int]]:
    return [hole[:3] for hole in connected.opening.starts[start_id].holes]


async def test_silence_of_version_1_is_no_statement_and_age_is_one(server: Server) -> None:
    connected = await server.connect(BacklogRange(OTHER_START, 3, 5, None, 30, None))
    connected.send(frames_packet(4, count=10, start_id=OTHER_START), BACKLOG)
    await connected.acks.until(1)
    again = await server.connect()
    assert await server.gaps() == []
    assert await server.recorder.give_up_holes(("can0", "frames"), 0.0) == 0
    assert await server.recorder.give_up_holes(("can0", "frames"), 0.1) == 20
    (gap,) = await server.gaps()
    assert (gap.parts, gap.frames, gap.reason) == ("[[3,3],[5,5]]", 20, GapReason.ANNOUNCED)
    assert await server.database.read(lambda c: recorded_pages.known_gaps(c, "can0")) == (1, 20)
    assert server.counted("gaps") == 1
    late = frames_packet(3, count=8, start_id=OTHER_START)
    with pytest.raises(SessionError, match="was not announced"):
        again.send(late, BACKLOG)
    found = await server.connect(BacklogRange(OTHER_START, 3, 3, None, 8, None))
    assert found.send(late, BACKLOG), "what is known now is no verdict"
    await found.acks.until(1)
    (gap,) = await server.gaps()
    assert (gap.parts, gap.frames) == ("[[5,5]]", 12)


async def test_an_opening_is_stored_before_it_is_answered(server: Server) -> None:
    await server.connect(BacklogRange(OTHER_START, 1, 2, None, 5, 0.5))
    with sqlite3.connect(server.database.path) as plain:
        starts = plain.execute("SELECT start_id FROM lane_starts ORDER BY id").fetchall()
        holes = plain.execute("SELECT first_unit, last_unit, frames FROM holes").fetchall()
    assert starts == [(OTHER_START,), (START,)], "in the order of the agent"
    assert holes == [(1, 2, 5)]


async def test_what_the_start_said_last_of_its_clock_is_known_when_it_comes_back(server: Server) -> None:
    right = ClockRecord("boot", 5, synchronised=True)
    connected = await server.connect(clock=right)
    assert connected.lane.clock == (0, True)
    connected.send(encode_clock(PacketNumber(START, 1), ClockRecord("boot", 9, synchronised=False)))
    await connected.acks.until(1)
    assert (await server.connect(next_seq=2)).lane.clock == (1, False)
    assert (await server.connect(next_seq=2, clock=right)).lane.clock == (1, False), "a hello is older"
    assert (await server.connect(start_id=OTHER_START)).lane.clock == (0, True)
    table = schema.clock_records
    query = select(table.c.seq, table.c.offset_ns, table.c.synchronised).order_by(table.c.seq)
    stored = await server.database.read(lambda connection: connection.execute(query).all())
    assert [*map(tuple, stored)] == [(0, 5, True), (1, 9, False)], (
        "what a hello says is from the beginning on"
    )


async def test_closing_commits_what_waits_and_acknowledges_it(server: Server) -> None:
    connected = await server.connect()
    connected.send(frames_packet(1))
    await server.recorder.close()
    assert connected.acks == [(LIVE, START, 1)]
    assert len(await server.packets()) == 1


async def test_closing_ends_also_while_storage_refuses(server: Server) -> None:
    connected = await server.connect()
    await server.database.write(fill)
    connected.send(frames_packet(1, count=MANY))
    async with asyncio.timeout(10):
        await server.recorder.close()
    assert connected.acks == []


async def test_a_lane_that_is_opened_twice_at_once_is_one_lane(server: Server) -> None:
    one, two = await asyncio.gather(server.connect(), server.connect())
    assert one.lane is two.lane
    keys = await server.database.read(lambda c: c.execute(select(schema.lane_starts)).all())
    assert len(keys) == 1


async def test_closing_commits_also_what_came_during_a_commit(server: Server) -> None:
    connected = await server.connect()
    server.database.gate.clear()
    connected.send(frames_packet(1))
    await server.database.until_asked()
    connected.send(frames_packet(2))
    closing = asyncio.create_task(server.recorder.close())
    await asyncio.sleep(0)
    server.database.gate.set()
    await closing
    assert connected.acks == [(LIVE, START, 1), (LIVE, START, 2)]
