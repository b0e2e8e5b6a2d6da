"""A lane, its file and a receiver under loss, reconnects, crashes and trims: every frame once or counted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.sender import WindowLimits
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import GapReason
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.lane_on_disk import Fetch
from edge_agent.lanes.spooled_lane import SpooledLane
from edge_agent.lanes.trim import trim
from edge_agent.spool.store import Changes, Moment, SpoolStore
from tests.property.test_lane_sessions import STEPS, World

KEY = ("d", "frames")
DISK_STEPS = ("hand_over", "stored", "refused", "fetch", "fetched", "trim", "drop_gaps")
# Where each step alone is drawn, little gets far: these do what usually follows.
USUAL_STEPS = ("spool", "spool", "load", "load", "pass_on", "pass_on", "connect", "trim")


class SpoolWorld(World):
    """One lane with a spool; what is between the lane and its file takes two steps, as in the agent."""

    def __init__(self, directory: Path, window_bytes: int = 10**9) -> None:
        self.directory = directory
        self.store: SpoolStore | None = None
        self.starts_made: list[str] = []
        self.lost_in_memory = 0
        super().__init__(window_bytes)

    def moment(self) -> Moment:
        return Moment("boot", self.now, None)

    def start_agent(self) -> None:
        if self.store is not None:
            self.store.close()
        self.starts += 1
        self.store = SpoolStore(self.directory, 10_000_000, self.moment())
        self.next_row = self.store.next_row
        limits = WindowLimits(self.window_bytes, max_in_flight=3)
        self.lane = self.sender = SpooledLane("d", "frames", f"{self.starts:016x}", limits, 1000, 0.0)
        self.starts_made.append(self.lane.start_id)
        left = self.store.left(self.moment()).get(KEY)
        if left is not None:
            self.lane.offer(left.backlog, left.marks)
        self.writing: tuple[list[SpoolRow], Changes, dict[str, str]] | None = None
        self.reading: tuple[Fetch, list[SpoolRow], dict[str, str]] | None = None
        self.lane.take_loss(GapReason.START, None, self.now)
        self.cut()

    @property
    def file(self) -> SpoolStore:
        assert self.store is not None
        return self.store

    def row(self) -> int:
        self.next_row += 1
        return self.next_row - 1

    # -- steps

    def hand_over(self) -> None:
        if self.writing is None and self.reading is None:
            rows = self.lane.hand_over(self.now, self.row, 400)
            deletes, stretches = self.lane.deleted()
            marks = self.lane.changed_marks() if rows else {}
            told = [(KEY, start, text) for start, text in marks.items()]
            puts = [(KEY, row) for row in rows]
            changes = Changes(puts, deletes, [(KEY, one) for one in stretches], told)
            self.writing = rows, changes, marks

    def stored(self) -> None:
        if self.writing is not None:
            rows, changes, marks = self.writing
            self.writing = None
            if changes.is_needed:
                self.file.apply(changes, self.moment())
            self.lane.written(rows, marks)

    def refused(self) -> None:
        if self.writing is not None:
            rows, changes, _ = self.writing
            self.writing = None
            self.lane.not_written(rows)
            self.lane.not_deleted(changes.deletes, [one for _, one in changes.delete_stretches])

    def fetch(self) -> None:
        if self.writing is None and self.reading is None:
            wanted = self.lane.next_fetch()
            if wanted is not None:
                marks = self.lane.changed_marks()
                told = [(KEY, start, text) for start, text in marks.items()]
                self.reading = wanted, self.file.fetch(KEY, wanted, told, self.moment()), marks

    def fetched(self) -> None:
        if self.reading is not None:
            self.lane.fetched(*self.reading)
            self.reading = None

    def trim(self, count: int) -> None:
        if self.writing is not None or self.reading is not None:
            return
        for rows in self.file.oldest(self.moment()).values():
            plan = trim(self.lane, rows[: 1 + count])
            if plan.lost:
                puts = [(KEY, row) for row in plan.puts]
                self.file.apply(Changes(puts, [row.row for row in plan.merged]), self.moment())
                self.lane.trimmed(plan.lost, plan.merged)

    def drop_gaps(self) -> None:
        if self.writing is not None or self.reading is not None:
            return
        bound, self.file.max_bytes = self.file.max_bytes, 4 * 160 * 2
        oldest = self.file.oldest_gaps(self.moment())
        self.file.max_bytes = bound
        for rows in oldest.values():
            if self.lane.may_drop(rows):
                self.file.apply(Changes([], [row.row for row in rows]), self.moment())
                self.lane.dropped(rows)

    def spool(self) -> None:
        self.hand_over()
        self.stored()

    def load(self) -> None:
        self.fetch()
        self.fetched()

    def pass_on(self) -> None:
        self.send()
        self.deliver_up()
        self.commit()

    def kill_agent(self) -> None:
        self.commit()
        if self.writing is not None and self.made % 2:
            self.file.apply(self.writing[1], self.moment())
        on_disk = {row.number for row in self.rows()}
        announced = self.lane._announced.get(self.lane.start_id, 0)
        for number, held in self.lane._held.items():
            is_safe = number in on_disk or number in self.storage.packets
            if not is_safe and number.seq > announced:
                self.lost_in_memory += held.frames or 0
        # Gaps that were dropped and that no hello has listed yet.
        for one in self.lane._lost:
            number = PacketNumber(one.start_id, one.last_seq)
            holes = [h for h in self.storage.holes if h.start_id == one.start_id]
            is_announced = any(hole.first_seq <= one.last_seq <= hole.last_seq for hole in holes)
            if number not in self.storage.packets and not is_announced:
                self.lost_in_memory += one.frames
        self.start_agent()

    def rows(self) -> list[SpoolRow]:
        everything = Fetch("", 1, 2**53, 0, 2**53, 0)
        rows, last = list[SpoolRow](), 0
        for start in self.starts_made:
            wanted = Fetch(start, 1, 2**53, last, everything.through_row, 0)
            found = self.file.fetch(KEY, wanted, [], self.moment())
            while found:
                rows += found
                last = found[-1].row
                wanted = Fetch(start, 1, 2**53, last, everything.through_row, 0)
                found = self.file.fetch(KEY, wanted, [], self.moment())
        return rows

    def quiesce(self) -> None:
        self.stored()
        self.fetched()
        self.connect()
        for _ in range(300):
            self.hand_over()
            self.stored()
            self.fetch()
            self.fetched()
            while (packet := self.sender.next_packet()) is not None:
                self.up.append(packet)
            while self.up:
                self.deliver_up()
            self.commit()
            while self.down:
                self.deliver_down()
            if self.lane.wants_greeting:
                self.connect()
            elif self.sender.is_empty:
                break
        assert self.sender.is_empty, f"{self.sender.held_packets} packets still held when all is quiet"
        self.hand_over()
        self.stored()
        assert self.rows() == [], "what is acknowledged is still on disk"

    # -- what must hold

    def check(self) -> None:
        recorded = self.recorded()
        counted = sum(gap.frames or 0 for gap in self.gaps())
        assert len(recorded) + counted + self.lost_in_memory == self.made
        taken: dict[str, IntervalSet] = {}
        for number, packet in self.storage.packets.items():
            numbers = taken.setdefault(number.start_id, IntervalSet())
            assert numbers.missing(packet.first_seq, number.seq) == [(packet.first_seq, number.seq)]
            numbers.add(packet.first_seq, number.seq)
        ids = []
        for start in self.starts_made:
            mine = sorted(number for number in self.storage.packets if number.start_id == start)
            ids += [i for number in mine for i in self._ids_of(number)]
        assert ids == sorted(ids), "out of order"

    def _ids_of(self, number: PacketNumber) -> list[int]:
        body = self.storage.packets[number].body
        return [int(i) for i in body.arbitration_id] if isinstance(body, FrameBatch) else []


@contextmanager
def spool_world(window_bytes: int = 10**9) -> Iterator[SpoolWorld]:
    directory = Path(tempfile.mkdtemp())
    world = SpoolWorld(directory, window_bytes)
    try:
        yield world
    finally:
        world.file.close()
        shutil.rmtree(directory)


def run(world: SpoolWorld, schedule: list[tuple[str, int]]) -> None:
    for step, x in schedule:
        if step in ("produce", "trim"):
            getattr(world, step)(x)
        elif step == "tick":
            world.now += x
        elif step == "restart_server":
            world.restart_server()
            world.sender.disconnect()
        elif step in ("send", "deliver_up", "pass_on"):
            for _ in range(x):
                getattr(world, step)()
        else:
            getattr(world, step)()


def schedules(*more: str, without: frozenset[str] = frozenset()) -> st.SearchStrategy[list[tuple[str, int]]]:
    steps = [step for step in (*STEPS, *DISK_STEPS, *USUAL_STEPS, *more) if step not in without]
    return st.lists(st.tuples(st.sampled_from(steps), st.integers(1, 4)), min_size=40, max_size=160)


@given(schedules(without=frozenset({"trim", "drop_gaps"})))
@settings(max_examples=300, deadline=None)
def test_with_a_spool_every_frame_is_recorded_once_in_order(schedule: list[tuple[str, int]]) -> None:
    with spool_world() as world:
        run(world, schedule)
        world.quiesce()
        assert world.recorded() == set(range(world.made))
        assert [gap.reason for gap in world.gaps()] == [GapReason.START]
        world.check()


@given(schedules("kill_agent", "kill_agent"))
@settings(max_examples=500, deadline=None)
def test_what_was_on_disk_arrives_once_or_is_counted_through_crashes_and_trims(
    schedule: list[tuple[str, int]],
) -> None:
    with spool_world() as world:
        run(world, schedule)
        world.quiesce()
        world.check()


@given(schedules("kill_agent"), st.integers(60, 600))
@settings(max_examples=300, deadline=None)
def test_a_window_that_is_full_too_loses_exactly_what_its_gaps_say(
    schedule: list[tuple[str, int]], window_bytes: int
) -> None:
    with spool_world(window_bytes) as world:
        run(world, schedule)
        world.quiesce()
        world.check()
