"""A source, a server with storage, and a sink, as the relay's model has them: what can happen to them, one
step at a time, and what must hold. The lanes and the direction are the real ones; time is a whole number.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Final

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.lanes.held import Held
from can_stream.lanes.opening import Start, opened
from can_stream.lanes.receiver import LaneConnection, LaneReceiver
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import MemoryWindow, WindowLimits
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet, decode_packet, encode_marker
from stream_server.relay.direction import RelayDirection
from stream_server.relay.values import NS, Bounds, Changes, Served, StoredLine, StoredRow
from tests.helpers.relay_direction_sink import (
    Reasons,
    Record,
    Report,
    TestSink,
    ViolationError,
    need,
    new_record,
)

MAX_AGE: Final = 6
SOURCE, SINK = "source", "sink"
_STORAGE: Final = "0123456789abcdef" * 2
_LIMITS: Final = WindowLimits(max_bytes=1500)


class Frame(Struct):
    """`activation`: what its packet was made for."""

    born: int
    activation: str
    is_other: bool


class Link(Struct, eq=False):
    """A data connection. `session` None: no hello came yet."""

    up: deque[tuple[str, RangeKind, bytes, int | None, int]] = field(default_factory=deque)
    down: deque[tuple[str, object]] = field(default_factory=deque)
    hello: LaneHello | None = None
    session: LaneConnection | None = None
    start_id: str = ""
    is_welcome: bool = False


class Storage(Struct):
    """What the server has after a crash."""

    starts: dict[str, Start] = field(default_factory=dict)
    bodies: dict[PacketNumber, bytes] = field(default_factory=dict)
    rows: dict[tuple[str, int], StoredRow] = field(default_factory=dict)
    lines: dict[str, StoredLine] = field(default_factory=dict)
    reasons: dict[str, Reasons] = field(default_factory=dict)
    served: Served | None = None
    activation: str = ""


class World:
    """`direction_type` is what is tried; the methods below are the model's actions."""

    direction_type: type[RelayDirection] = RelayDirection
    bounds: Final = Bounds(age_ns=600 * NS, frames=40, body_bytes=200, hold_ns=0)
    takes_served_first = True

    def __init__(self) -> None:
        self.t = 1000
        self.frames: list[Frame] = []
        self.starts = count(1)
        self.made: dict[PacketNumber, tuple[int, str]] = {}
        self.released: set[int] = set()
        self.lost: set[int] = set()
        self.ended: set[str] = set()
        self.activations = 0
        self.window = MemoryWindow(_LIMITS)
        self.told = ""
        self.sink = TestSink(SOURCE, MAX_AGE * NS, self.t * NS)
        self.spare = new_record(self.t * NS)
        self.storage = Storage()
        self.link: Link | None = None
        self.sink_is_linked = False
        self._start_source()
        self._start_server()

    @property
    def now_ns(self) -> int:
        """The one clock."""
        return self.t * NS

    # -- the source

    def _start_source(self) -> None:
        start_id = f"{next(self.starts):016x}"
        self.sender = LaneSender(SOURCE, "frames", start_id, _LIMITS, window=self.window)
        self.marked = ""
        self.sink.frames_of[start_id] = []
        if self.told:
            self._mark(self.told)

    def _mark(self, activation: str) -> None:
        if activation == self.marked:
            return
        self.marked = activation
        number = PacketNumber(self.sender.start_id, self.sender.next_seq)
        packet = encode_marker(number, Marker(activation), self.sender.next_frame)
        self.made[number] = (self.t, activation)
        self.sender._hold(Held(number, self.sender.next_frame, packet, 0, None, None, self.t))

    def produce(self, frames: int, own: int) -> None:
        """Frames are read from the source's bus; `own`: a bit for each that is its own echo."""
        first = len(self.frames)
        flags = np.array([FrameFlag.TX if own >> i & 1 else 0 for i in range(frames)], np.uint8)
        numbers = np.arange(first, first + frames, dtype="<u8")
        data = numbers.view(np.uint8).reshape(frames, 8).copy()
        batch = FrameBatch(
            np.full(frames, self.now_ns, np.int64),
            np.full(frames, 0x100, np.uint32),
            flags,
            np.full(frames, 8, np.uint8),
            data,
        )
        for i in range(frames):
            self.frames.append(Frame(self.t, self.marked, not own >> i & 1))
            self.sink.frames_of[self.sender.start_id].append((first + i, not own >> i & 1))
        self.made[PacketNumber(self.sender.start_id, self.sender.next_seq)] = (self.t, self.marked)
        self.sender.take_frames(batch, self.t)

    def source_crashes(self) -> None:
        """A new start begins with what lies on the disk; what was made last is lost with the old one."""
        self.cut()
        newest = next(reversed(self.window.held), None)
        if newest is not None and self.window.held[newest].frames and newest[1] % 2:
            held = self.window.held[newest]
            self.window.release(newest)
            assert held.position is not None
            places = range(held.position, held.position + (held.frames or 0))
            self.lost |= {self.sink.frames_of[newest.start_id][place][0] for place in places}
        self._start_source()

    def trim(self) -> None:
        """The source has no room for what it holds."""
        self.window.limits = replace(_LIMITS, max_bytes=max(100, self.window.held_bytes // 2))
        if self.window.held:
            self.window._trim()
        self.window.limits = _LIMITS

    def connect(self, *, own_alone: bool = False, room: int = 64) -> None:
        """A new data connection, with its hello on the way.

        `own_alone`: its spool is being opened, so that it lists of earlier starts nothing. `room`: for so
        many ranges; where that is too little, what is live begins with a marker.
        """
        self.cut()
        hello = self.sender.connect(self.t)
        link = self.link = Link(start_id=self.sender.start_id)
        backlog = self._ranges(hello)
        if own_alone or len(backlog) > room:
            hello = replace(hello, complete=False, starts=[])
        if own_alone:
            backlog = [one for one in backlog if one.start_id == link.start_id]
        backlog = backlog[:room]
        listed = {PacketNumber(one.start_id, one.last_seq) for one in backlog}
        self.window._backlog = deque(number for number in self.window.held if number in listed)
        link.hello = replace(hello, backlog=backlog)
        link.up.append(("hello", RangeKind.LIVE, b"", None, self.t))
        if room < 64:
            marked, self.marked = self.marked, ""
            self._mark(marked)

    def _ranges(self, hello: LaneHello) -> list[BacklogRange]:
        ranges = []
        for one in hello.backlog:
            for seq in range(one.first_seq, one.last_seq + 1):
                number = PacketNumber(one.start_id, seq)
                held = self.window.find(number)
                if held is not None:
                    made, activation = self.made[number]
                    made = min(made, int(held.made_at_seconds))
                    ranges.append(
                        BacklogRange(
                            one.start_id,
                            held.first_seq,
                            seq,
                            held.position,
                            held.frames or 0,
                            float(self.t - made),
                            activation or None,
                        )
                    )
        return ranges

    def cut(self) -> None:
        """The data connection ends; what was on its way is gone."""
        self.sender.disconnect()
        self.link = None

    def send(self) -> None:
        """The source sends one packet."""
        if self.link is None or not self.link.is_welcome:
            return
        out = self.sender.next_packet()
        if out is not None:
            packet = decode_packet(out[1])
            made = int(self.window.held[packet.number].made_at_seconds)
            self.link.up.append(("packet", *out, self.t - made, self.t))

    # -- what travels

    def up(self) -> None:
        """The server takes the next message of the source."""
        link = self.link
        if link is None or not link.up:
            return
        what, kind, body, age, said = link.up.popleft()
        if what == "hello":
            self._heard(link, said)
            return
        packet = decode_packet(body)
        assert link.session is not None
        if link.session.received(kind, packet):
            self.waiting.append((packet, body))
            born = None if age is None else (said - age) * NS
            live = kind is RangeKind.LIVE
            self.direction.arrived(packet, body, born, live=live, now_ns=self.now_ns)

    def down(self) -> None:
        """The source takes the next message of the server."""
        link = self.link
        if link is None or not link.down:
            return
        what, said = link.down.popleft()
        if what == "welcome":
            assert isinstance(said, tuple)
            self._check_release_through(said[0])
            link.is_welcome = True
            self.sender.accepted(said[0])
            self.told = said[1]
            self._mark(self.told)
        elif what == "source":
            assert isinstance(said, str)
            self.told = said
            self._mark(said)
        else:
            assert isinstance(said, tuple)
            before = set(self.window.held)
            self.sender.acknowledged(*said)
            self._check_released(before - set(self.window.held))

    # -- the server

    def _start_server(self) -> None:
        storage = self.storage
        self.receiver = LaneReceiver()
        self.waiting: list[tuple[Packet, bytes]] = []
        self.reasons = {start: dict(reasons) for start, reasons in storage.reasons.items()}
        self.direction = self.direction_type(SOURCE, SINK, MAX_AGE * NS, self.bounds)
        self.direction.restored(
            storage.rows.values(), storage.lines.values(), storage.served, self.now_ns, same_boot=True
        )
        if storage.activation:
            self.direction.activate(storage.activation)
        else:
            self.direction.deactivate()

    def server_crashes(self) -> None:
        """What was not committed is gone, and so are its connections."""
        self.cut()
        self.sink_is_linked = False
        self.sink.queue.clear()
        self._start_server()

    def _heard(self, link: Link, said: int) -> None:
        hello = link.hello
        assert hello is not None
        self.commit()
        opening = opened(self.storage.starts, hello, link.start_id, self.t, lambda *_: 0)
        self.storage.starts = {**self.storage.starts, **{k: v.copy() for k, v in opening.starts.items()}}
        self.receiver.starts = opening.starts
        link.session = LaneConnection(self.receiver, hello, link.start_id)
        self.direction.heard(hello, link.start_id, opening, said * NS)
        self._write(self.direction.to_store())
        link.down.append(("welcome", (opening.starts[link.start_id].through, self.direction.activation)))

    def commit(self) -> None:
        """What waits for storage is committed, and acknowledged."""
        packets = [packet for packet, _ in self.waiting]
        if self.receiver.starts and packets:
            change = self.receiver.change(packets, self.t)
            self.storage.starts = {**self.storage.starts, **{k: v.copy() for k, v in change.starts.items()}}
            for packet, body in self.waiting:
                self.storage.bodies.setdefault(packet.number, body)
            self.receiver.committed(packets, change)
        self._write(self.direction.to_store([packet.number for packet in packets]))
        self.waiting = []
        if self.link is not None and self.link.session is not None:
            self.link.down.extend(("ack", ack) for ack in self.link.session.acks())

    def _write(self, changes: Changes) -> None:
        storage = self.storage
        for gone in changes.deleted:
            for key in [key for key in storage.rows if key[0] == gone.start_id]:
                if gone.first_seq <= key[1] <= gone.last_seq:
                    del storage.rows[key]
        storage.rows.update({(row.start_id, row.seq): row for row in changes.rows})
        storage.lines.update({line.start_id: line for line in changes.lines})
        storage.reasons = {start: dict(reasons) for start, reasons in self.reasons.items()}
        self.direction.stored(changes)

    def prune(self) -> None:
        """Retention deletes the packet that was recorded first."""
        number = next(iter(self.storage.bodies), None)
        if number is not None:
            del self.storage.bodies[number]
            self.direction.pruned([number])

    def activate(self) -> None:
        """An operator activates the group."""
        if not self.direction.activation:
            self.activations += 1
            self._activation(activation_name(_STORAGE, self.activations))

    def deactivate(self) -> None:
        """An operator ends it."""
        if self.direction.activation:
            self.ended.add(self.direction.activation)
            self._activation("")

    def _activation(self, name: str) -> None:
        if name:
            self.direction.activate(name)
        else:
            self.direction.deactivate()
        self.storage.activation = name
        if self.link is not None and self.link.session is not None:
            self.link.down.append(("source", name))
        if self.sink_is_linked:
            self.sink.directed(self.direction.directed(), self.reasons, self.now_ns)

    # -- the sink

    def sink_connects(self) -> None:
        """The sink greets, and is answered."""
        self._steps_of_sink_done()
        self.direction.lost()
        hello = self.sink.hello(self.now_ns)
        self._check_bus()
        before = self.storage.served
        is_other = before is not None and before.record_id != hello.record_id
        if not is_other:
            for cursor in hello.cursors:
                self._believe(Report(cursor, dict(self.sink.record.reasons.get(cursor.start_id, {}))))
        direction = self.direction.greeted(hello, self.now_ns)
        self.storage.served = self.direction.serving
        self._write(self.direction.to_store())
        self.direction.served(hello.record_id)
        self.sink_is_linked = True
        self.sink.directed(direction, self.reasons, self.now_ns)

    def _steps_of_sink_done(self) -> None:
        self.sink.reports.clear()

    def sink_cut(self) -> None:
        """Its connection ends."""
        self.direction.lost()
        self.sink_is_linked = False
        self.sink.queue.clear()
        self.sink.reports.clear()

    def hand(self) -> None:
        """The server hands one thing, if the sink is there."""
        if not self.sink_is_linked:
            return
        handed = self.direction.next(self.now_ns, 5)
        if handed is None and (absent := self.direction.absent()):
            bodies = {one: self.storage.bodies[one] for one in absent if one in self.storage.bodies}
            self.direction.read(absent, bodies)
            handed = self.direction.next(self.now_ns, 5)
        if handed is not None:
            self.sink.queue.append(handed)
        else:
            self._check_waiting()

    def step(self) -> None:
        """The sink does its next step."""
        self.sink.step(self.now_ns)
        self._check_bus()

    def report(self) -> None:
        """The server takes the sink's next report."""
        if self.sink_is_linked and self.sink.reports:
            report = self.sink.reports.popleft()
            self._believe(report)
            self.direction.settled(report.cursor)

    def _believe(self, report: Report) -> None:
        line = self.direction._lines.get(report.cursor.start_id)
        if line is None or report.cursor.position >= line.settled:
            self.reasons[report.cursor.start_id] = dict(report.reasons)

    def sink_killed(self) -> None:
        """It begins again with its record."""
        self.sink_cut()
        self.sink.kill()
        self._check_bus()

    def sink_begins_anew(self) -> None:
        """Its record is gone."""
        self.sink_killed()
        self.sink.record = new_record(self.now_ns)

    def sinks_swapped(self) -> None:
        """Another machine with another record takes its place on the bus."""
        self.sink_killed()
        record: Record = self.sink.record
        self.sink.record, self.spare = self.spare, record

    # -- time

    def tick(self, ticks: int) -> None:
        """Time goes by."""
        self.t += ticks
        self.direction.aged(self.now_ns)

    def flow(self, beats: int, *, commits: bool) -> None:
        """Nothing goes wrong for a while."""
        if self.link is None:
            self.connect()
        if not self.sink_is_linked:
            self.sink_connects()
        for _ in range(beats):
            for act in (self.send, self.up, self.down, self.hand, self.step, self.step, self.report):
                act()
            if commits:
                self.commit()

    # -- what must hold

    def _check_bus(self) -> None:
        for number in self.sink.sent_now:
            frame = self.frames[number]
            need(frame.is_other, f"(10) own echo {number} sent")
            need(self.sink.bus.count(number) == 1, f"(1) frame {number} twice on the bus")
            need(self.t - frame.born <= MAX_AGE, f"(5) frame {number} sent at {self.t - frame.born}")
            need(frame.activation != "", f"(8) frame {number}, made for no activation, sent")
            need(max(self.sink.bus) == number or number in self.sink.sent_now, "(2)")
        self.sink.sent_now = []
        need(self.sink.bus == sorted(self.sink.bus), f"(2) out of order: {self.sink.bus[-4:]}")

    def _check_waiting(self) -> None:
        line = self.direction._lines.to_hand()
        if line is None or line.handed >= line.end or not self.direction._is_served:
            return
        number = self.sink.frames_of[line.start_id][line.handed][0]
        age = self.t - self.frames[number].born
        need(age <= MAX_AGE, f"(7) all waits for frame {number}, which is {age} old")

    def _check_release_through(self, through: int) -> None:
        mine = {number for number in self.window.held if number.start_id == self.sender.start_id}
        self._check_released({number for number in mine if number.seq <= through})

    def _check_released(self, numbers: set[PacketNumber]) -> None:
        for number in numbers:
            self.released.add(number.seq)
            activation = self.made[number][1]
            body = self.storage.bodies.get(number)
            if body is None or not activation or activation != self.storage.activation:
                continue
            packet = decode_packet(body)
            first, frames = packet.position or 0, packet.frames or 0
            for place in range(first, first + frames):
                need(self._is_kept(number, place), f"(6) {number}: released, neither settled nor kept")

    def _is_kept(self, number: PacketNumber, place: int) -> bool:
        line = self.storage.lines.get(number.start_id)
        settled = self.sink.record.cursors.get(number.start_id, 0)
        here = self.direction._lines.get(number.start_id)
        if place < max(settled, line.settled if line else 0, here.settled if here else 0):
            return True
        rows = [row for row in self.storage.rows.values() if row.start_id == number.start_id]
        if any(row.position <= place < row.position + row.frames for row in rows):
            return True
        stretches = line.stretches if line else []
        return any(one.first <= place < one.through and one.reason != "out" for one in stretches)

    def quiesce(self) -> None:
        """Nothing goes wrong any more: all comes to its end, and each frame to one count."""
        self.connect()
        self.sink_connects()
        for _ in range(60):
            for _ in range(40):
                for act in (self.send, self.up, self.commit, self.down, self.hand, self.step, self.report):
                    act()
                self.down()
            if self.link is None or not self.link.is_welcome:
                self.connect()
            self.tick(1)
            if not self.window.held and not self._left:
                break
        need(not self.window.held, f"(3/7) the source still holds {list(self.window.held)}")
        need(not self._left, "(3/7) the server or the sink still has something")
        self._check_counts()

    @property
    def _left(self) -> bool:
        lines = self.direction._lines
        return bool(self.sink.queue or self.sink.record.burst or any(not line.is_settled for line in lines))

    def _check_counts(self) -> None:
        seen: Reasons = {}
        for reasons in self.reasons.values():
            for number, reason in reasons.items():
                need(number not in seen, f"(3) frame {number} counted twice")
                seen[number] = reason
        need(all(self.frames[number].is_other for number in seen), "(3) an own echo in a count")
        for number in self.sink.bus:
            if number not in seen and (number in self.lost or self.frames[number].activation in self.ended):
                continue  # no hello named it (before the end), and the record that knew it is gone
            need(seen.get(number) in ("sent", "in_doubt"), f"(3) frame {number} sent, but {seen.get(number)}")
        for number, reason in seen.items():
            need(reason != "sent" or number in self.sink.bus, f"(3) frame {number} counted, never sent")
        on = self.storage.activation
        for number, frame in enumerate(self.frames):
            if on and frame.activation == on and frame.is_other and number not in self.lost:
                need(number in seen, f"(3) frame {number} in no count")
        total = self.direction.books(self.now_ns).totals
        counted = total.sent + total.in_doubt + sum(total.not_sent.values())
        need(counted == len(seen), f"(3) {counted} in the books, {len(seen)} counted")


__all__ = ["MAX_AGE", "ViolationError", "World"]
