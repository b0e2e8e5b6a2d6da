"""A sender and a receiver in memory, under loss, reconnects, crashes and trims: every frame once or counted.

Only commits change the receiver's storage, as in the server: a crash forgets everything else.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.lanes.holdings import is_final
from can_stream.lanes.opening import Start, opened
from can_stream.lanes.receiver import Change, LaneConnection, LaneReceiver
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.errors import SessionError
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    Packet,
    decode_packet,
)

Down = tuple[RangeKind, PacketNumber]


class Storage:
    """What survives a crash of the server: packets, gaps, and what is known of each start.

    A gap that stands for packets may have the number of one that is recorded: it says what is missing before.
    """

    def __init__(self) -> None:
        self.packets: dict[PacketNumber, Packet] = {}
        self.gaps: list[Packet] = []
        self.starts: dict[str, Start] = {}

    def store(self, packets: list[Packet], change: Change) -> None:
        for packet, is_new in zip(packets, change.accepted, strict=True):
            if is_new and not is_final(packet):
                self.gaps.append(packet)
            elif is_new:
                assert packet.number not in self.packets, f"{packet.number} recorded twice"
                self.packets[packet.number] = packet
        self.starts |= {start_id: start.copy() for start_id, start in change.starts.items()}

    def has(self, number: PacketNumber) -> bool:
        """Whether it is recorded, or in a gap."""
        return number in self.packets or any(
            gap.number.start_id == number.start_id and gap.first_seq <= number.seq <= gap.number.seq
            for gap in self.gaps
        )

    def count(self, start_id: str, first: int, last: int) -> int:
        return sum(
            p.frames or 0
            for n, p in [*self.packets.items(), *((gap.number, gap) for gap in self.gaps)]
            if n.start_id == start_id and first <= n.seq <= last
        )


class World:
    """One lane; `produced` is every frame the agents made, in order, by its arbitration id."""

    def __init__(self, window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.now = 0.0
        self.starts = 0
        self.made = 0
        self.clocks = 0
        self.markers = 0
        self.storage = Storage()
        self.restart_server()
        self.start_agent()

    def start_agent(self) -> None:
        self.starts += 1
        limits = WindowLimits(self.window_bytes, max_in_flight=3)
        self.sender = LaneSender("d", "frames", f"{self.starts:016x}", limits)
        self.sender.take_loss(GapReason.START, None, self.now)
        self.cut()

    def restart_server(self) -> None:
        self.receiver = LaneReceiver()
        self.uncommitted: list[Packet] = []
        self.connection: LaneConnection | None = None
        self.up: deque[tuple[RangeKind, bytes]] = deque()
        self.down: deque[Down] = deque()

    def cut(self) -> None:
        self.sender.disconnect()
        self.connection = None
        self.up.clear()
        self.down.clear()

    # -- steps

    def produce(self, count: int) -> None:
        rows = [(self.now_ns(), self.made + i, 1, 8, bytes(8)) for i in range(count)]
        self.made += count
        self.sender.take_frames(batch_of(rows), self.now)

    def clock(self) -> None:
        self.clocks += 1
        self.sender.take_clock(ClockRecord("boot", self.clocks, synchronised=False), self.now)

    def marker(self) -> None:
        self.markers += 1
        self.sender.take_marker(Marker(activation_name("ab" * 16, self.markers)), self.now)

    def now_ns(self) -> int:
        return int(self.now * 1e9)

    def connect(self) -> None:
        self.commit()
        self.cut()
        hello = self.sender.connect(self.now)
        opening = opened(self.storage.starts, hello, self.sender.start_id, self.now, self.storage.count)
        assert opening.gaps == [], "what it does not list is held all the same"
        self.receiver.starts = opening.starts
        self.storage.starts |= {start_id: start.copy() for start_id, start in opening.starts.items()}
        self.connection = LaneConnection(self.receiver, hello, self.sender.start_id)
        self.sender.accepted(opening.starts[self.sender.start_id].through)

    def send(self) -> None:
        packet = self.sender.next_packet()
        if packet is not None:
            self.up.append(packet)

    def deliver_up(self) -> None:
        if self.up and self.connection:
            kind, data = self.up.popleft()
            packet = decode_packet(data)
            if self.connection.received(kind, packet):
                self.uncommitted.append(packet)

    def commit(self) -> None:
        packets, self.uncommitted = self.uncommitted, []
        change = self.receiver.change(packets, self.now)
        self.storage.store(packets, change)
        self.receiver.committed(packets, change)
        if self.connection:
            self.down.extend(self.connection.acks())

    def deliver_down(self) -> None:
        if self.down:
            kind, number = self.down.popleft()
            before = self.sender.window.held_packets
            self.sender.acknowledged(kind, number)
            if self.sender.window.held_packets < before:
                assert self.storage.has(number), "released before it was recorded"

    def kill_agent(self) -> None:
        self.start_agent()

    # -- what must hold

    def recorded(self) -> set[int]:
        ids: list[int] = []
        for packet in self.storage.packets.values():
            if isinstance(packet.body, FrameBatch):
                ids.extend(packet.body.arbitration_id.tolist())
        assert len(ids) == len(set(ids)), "a frame recorded twice"
        return set(ids)

    def recorded_clocks(self) -> list[int]:
        in_order = (self.storage.packets[number].body for number in sorted(self.storage.packets))
        return [body.offset_ns for body in in_order if isinstance(body, ClockRecord)]

    def recorded_markers(self) -> list[Marker]:
        in_order = (self.storage.packets[number].body for number in sorted(self.storage.packets))
        return [body for body in in_order if isinstance(body, Marker)]

    def all_markers(self) -> list[Marker]:
        return [Marker(activation_name("ab" * 16, number + 1)) for number in range(self.markers)]

    def gaps(self) -> list[Gap]:
        return [
            p.body for p in [*self.storage.packets.values(), *self.storage.gaps] if isinstance(p.body, Gap)
        ]

    def quiesce(self) -> None:
        self.connect()
        for _ in range(500):
            while (packet := self.sender.next_packet()) is not None:
                self.up.append(packet)
            while self.up:
                self.deliver_up()
            self.commit()
            while self.down:
                self.deliver_down()
            if self.sender.is_empty:
                break
        assert self.sender.is_empty, f"{self.sender.window.held_packets} packets still held when all is quiet"


STEPS = (
    "produce",
    "produce",
    "send",
    "send",
    "send",
    "deliver_up",
    "deliver_up",
    "clock",
    "marker",
    "commit",
    "deliver_down",
    "connect",
    "cut",
    "restart_server",
    "tick",
)
schedules = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 4)), max_size=120)


def run(world: World, schedule: list[tuple[str, int]]) -> None:
    for step, x in schedule:
        if step == "produce":
            world.produce(x)
        elif step == "tick":
            world.now += x
        elif step == "restart_server":
            world.restart_server()
            world.sender.disconnect()
        elif step in ("send", "deliver_up"):
            for _ in range(x):
                getattr(world, step)()
        else:
            getattr(world, step)()


@given(schedules)
@settings(max_examples=400)
def test_without_agent_crashes_every_frame_is_recorded_once_in_order(schedule: list[tuple[str, int]]) -> None:
    world = World(window_bytes=10**9)
    run(world, schedule)
    world.quiesce()
    in_order = [world.storage.packets[number] for number in sorted(world.storage.packets)]
    ids = [int(i) for p in in_order if isinstance(p.body, FrameBatch) for i in p.body.arbitration_id]
    assert ids == list(range(world.made))
    assert world.recorded_clocks() == list(range(1, world.clocks + 1))
    assert world.recorded_markers() == world.all_markers()
    assert [gap.reason for gap in world.gaps()] == [GapReason.START]


@given(schedules, st.integers(60, 600))
@settings(max_examples=400)
def test_a_full_window_loses_exactly_what_its_gaps_say(
    schedule: list[tuple[str, int]], window_bytes: int
) -> None:
    world = World(window_bytes)
    run(world, schedule)
    world.quiesce()
    recorded = world.recorded()
    (start,) = world.storage.starts.values()
    assert len(recorded) + start.in_gaps == start.frames + start.in_gaps == world.made
    assert start.in_holes == 0
    assert world.recorded_clocks() == list(range(1, world.clocks + 1))
    assert world.recorded_markers() == world.all_markers()
    assert all(
        world.storage.has(PacketNumber(world.sender.start_id, seq)) for seq in range(1, world.sender.next_seq)
    )


@given(st.lists(st.tuples(st.sampled_from((*STEPS, "kill_agent")), st.integers(1, 4)), max_size=150))
@settings(max_examples=400)
def test_what_a_killed_agent_had_announced_waits_and_becomes_a_gap_of_that_count_by_age(
    schedule: list[tuple[str, int]],
) -> None:
    world = World(window_bytes=10**9)
    for step in schedule:
        run(world, [step])
    world.quiesce()
    world.recorded()
    for start_id, start in world.storage.starts.items():
        waiting = start.in_holes
        assert not waiting or start_id != world.sender.start_id
        assert sum(gap.frames or 0 for gap in start.expired(world.now + 1)) == waiting
        assert start.in_holes == 0


def test_live_is_sent_before_backlog() -> None:
    world = World(window_bytes=10**9)
    for _ in range(5):
        world.produce(1)
    world.connect()
    world.produce(1)
    kinds = []
    while (packet := world.sender.next_packet()) is not None:
        kinds.append(packet[0])
    assert kinds[0] is RangeKind.LIVE
    assert set(kinds[1:]) == {RangeKind.BACKLOG}


def test_a_skipped_live_number_breaks_the_session() -> None:
    world = World(window_bytes=10**9)
    world.connect()
    world.produce(1)
    world.produce(1)
    world.send()
    world.up.clear()
    world.send()
    with pytest.raises(SessionError, match="was due"):
        world.deliver_up()


def test_hello_says_how_much_waits_and_how_old_it_is() -> None:
    world = World(window_bytes=10**9)
    world.now = 100.0
    world.produce(3)
    world.now = 107.5
    (listed,) = world.sender.connect(world.now).backlog
    assert (listed.first_seq, listed.last_seq, listed.frames, listed.age_seconds) == (1, 2, 3, 107.5)


def test_live_packets_pass_a_backlog_of_which_only_so_much_is_on_its_way() -> None:
    sender = LaneSender("d", "frames", "00" * 8, WindowLimits())
    sender.max_backlog_frames = 10
    for i in range(20):
        sender.take_frames(batch_of([(i, 1, 0, 0, b"")] * 4), 0.0)
    sender.connect(0.0)
    on_their_way = [decode_packet(packet[1]).number for _ in range(3) if (packet := sender.next_packet())]
    assert [number.seq for number in on_their_way] == [1, 2, 3]
    assert sender.next_packet() is None
    sender.take_frames(batch_of([(99, 1, 0, 0, b"")]), 0.0)
    live = sender.next_packet()
    assert live is not None
    assert live[0] is RangeKind.LIVE
    sender.acknowledged(RangeKind.BACKLOG, on_their_way[1])
    more = [decode_packet(packet[1]).number.seq for _ in range(3) if (packet := sender.next_packet())]
    assert more == [4, 5]
    assert sender.has_unsent
    sender.connect(0.0)
    again = [decode_packet(packet[1]).number.seq for _ in range(9) if (packet := sender.next_packet())]
    assert again == [3, 4, 5]


def test_times_of_a_trimmed_stretch_are_in_its_gap() -> None:
    sender = LaneSender("d", "frames", "00" * 8, WindowLimits(max_bytes=400))
    for i in range(60):
        rows = np.random.default_rng(i).integers(0, 256, 64, np.uint8).tobytes()
        sender.take_frames(batch_of([(i * 10**9, 1, 8, 64, rows)]), float(i))
    sender.connect(60.0)
    kind_and_packet = sender.next_packet()
    assert kind_and_packet is not None
    gap = decode_packet(kind_and_packet[1]).body
    assert isinstance(gap, Gap)
    assert (gap.first_seq, gap.first_ns) == (1, 0)
    assert gap.last_ns is not None
    assert gap.frames == gap.last_ns // 10**9 + 1
    assert sender.window.held_bytes <= 400


def test_a_replay_repeated_under_its_start_sends_only_what_the_server_lacks() -> None:
    world = World(window_bytes=10**9)
    for _ in range(6):
        world.produce(2)
    world.quiesce()
    recorded = dict(world.storage.packets)
    again = LaneSender("d", "frames", world.sender.start_id, WindowLimits())
    again.take_loss(GapReason.START, None, 0.0)
    world.sender, world.made = again, 0
    world.connect()
    for _ in range(7):
        world.produce(2)
    assert again.window.held_packets == 1
    world.quiesce()
    assert len(world.storage.packets) == len(recorded) + 1
    assert world.recorded() == set(range(14))
