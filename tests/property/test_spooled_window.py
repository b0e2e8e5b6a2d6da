"""An agent's half of a lane and its file, under loss, reconnects, crashes, trims, power cuts and files that
come late or go: every frame is recorded once or in one gap, and nothing is given up that somebody holds."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.lanes.held import Held
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import GapReason, decode_packet
from edge_agent.lanes.backlog_reader import Fetch
from edge_agent.lanes.disk_backlog import DiskBacklog, SpoolRow, Unneeded
from edge_agent.lanes.spool_writer import OpenBatch
from edge_agent.lanes.spooled_window import SpooledWindow, spooled_lane
from edge_agent.lanes.trim import trim
from edge_agent.spool.directory import FILE_NAME, WAL_NAME
from edge_agent.spool.store import Changes, Moment, SpoolStore
from tests.helpers.holdings_server import HoldingsServer, Position

KEY = ("d", "frames")
_MEMORY = Path("/dev/shm")  # thousands of files that no disk need ever see
_DATA_ON_DISK = (
    "SELECT start_id, position, frames FROM packets JOIN starts USING (start)"
    " WHERE gap IS NULL AND frames > 0"
)


class World:
    """One lane; each step is small. What is between the lane and its file takes two, as in the agent."""

    def __init__(self, directory: Path, window_bytes: int, max_ranges: int) -> None:
        self.directory, self.window_bytes, self.max_ranges = directory, window_bytes, max_ranges
        self.server = HoldingsServer()
        self.now, self.starts, self.frames, self.clocks, self.marks = 0.0, 0, 0, 0, 0
        self.carried: dict[Position, str] = {}
        self.made: dict[str, list[int]] = {}
        self.store: SpoolStore | None = None
        self.next_row, self.covers = 1, 0
        self.in_file, self.in_synced_file = set[str](), set[str]()
        self.start(is_late=False)

    def moment(self) -> Moment:
        return Moment("boot", self.now, None)

    def start(self, *, is_late: bool) -> None:
        self.starts += 1
        limits = WindowLimits(self.window_bytes, max_in_flight=3)
        self.sender = spooled_lane("d", "frames", f"{self.starts:016x}", limits, 1000, 0.0)
        self.made[self.sender.start_id] = []
        self.open, self.open_since = list[int](), 0.0
        self.window.writer.open_batch = self.open_batch
        self.writing: tuple[list[SpoolRow], Changes] | None = None
        self.reading: tuple[Fetch, list[SpoolRow]] | None = None
        self.up: deque[tuple[RangeKind, bytes]] = deque()
        self.down: deque[tuple[RangeKind, PacketNumber]] = deque()
        self.sender.take_loss(GapReason.START, None, self.now)
        if not is_late:
            self.open_file()

    @property
    def window(self) -> SpooledWindow:
        assert isinstance(self.sender.window, SpooledWindow)
        return self.sender.window

    def open_file(self) -> None:
        """Read whole, once it can be."""
        if self.store is None:
            self.store = SpoolStore(self.directory, 10_000_000, self.moment())
            self.next_row = max(self.next_row, self.store.next_row)
            left = self.store.left(self.moment()).get(KEY)
            self.window.offer(DiskBacklog() if left is None else left.backlog)
            self.sender.ledger.read([] if left is None else left.ledger)

    def row(self) -> int:
        self.next_row += 1
        return self.next_row - 1

    # -- the bus, the connection

    def gather(self, frames: int) -> None:
        """They are no packet yet."""
        ids = range(self.frames, self.frames + frames)
        self.frames += frames
        self.carry(frames)
        self.made[self.sender.start_id] += ids
        self.open_since = self.open_since if self.open else self.now
        self.open += ids

    def open_batch(self) -> OpenBatch | None:
        return (_batch(self.open), self.open_since, born_ns(self.open[0])) if self.open else None

    def carry(self, frames: int) -> None:
        """What those are carried for that are made now."""
        start_id, first = self.sender.start_id, len(self.made[self.sender.start_id])
        self.carried |= {(start_id, first + i): self.sender.activation for i in range(frames)}

    def finish_batch(self) -> None:
        if self.open:
            batch, first, self.open = _batch(self.open), self.open[0], []
            self.sender.take_frames(batch, self.open_since, born_ns(first))

    def produce(self, frames: int) -> None:
        self.gather(frames)
        self.finish_batch()

    def clock(self) -> None:
        self.finish_batch()
        self.clocks += 1
        self.sender.take_clock(ClockRecord("boot", self.clocks, synchronised=False), self.now)

    def mark(self) -> None:
        """Two in three begin what the frames behind them are carried for, the third ends it."""
        self.finish_batch()
        self.marks += 1
        activation = activation_name("ab" * 16, self.marks) if self.marks % 3 else ""
        self.sender.take_marker(Marker(activation), self.now)

    def source_loss(self, frames: int) -> None:
        self.finish_batch()
        self.carry(frames)
        self.made[self.sender.start_id] += [-1] * frames
        self.sender.take_loss(GapReason.SOURCE, frames, self.now)

    def connect(self) -> None:
        self.commit()
        self.cut()
        hello = self.sender.connect(self.now, self.max_ranges)
        self.check_hello(hello)
        self.sender.accepted(*self.server.hello(hello, self.sender.start_id, self.held()))

    def cut(self) -> None:
        self.sender.disconnect()
        self.server.cut()
        self.up.clear()
        self.down.clear()

    def send(self) -> None:
        sent = self.sender.next_held()
        if sent is not None:
            self.up.append((sent[0], sent[1].packet))
            self.check_held(sent[1])

    def deliver_up(self) -> None:
        if self.up:
            kind, data = self.up.popleft()
            self.server.receive(kind, decode_packet(data))

    def commit(self) -> None:
        self.down.extend(self.server.commit())

    def deliver_down(self) -> None:
        if self.down:
            before = self.held()
            self.sender.acknowledged(*self.down.popleft())
            for start_id, position in before - self.held():
                is_recorded = position in self.server.starts[start_id].recorded
                assert is_recorded, f"frame {start_id}:{position} deleted, never in the recording"

    def pass_on(self) -> None:
        self.send()
        self.deliver_up()
        self.commit()

    # -- the disk

    def hand_over(self) -> None:
        if self.store is not None and self.writing is None and self.reading is None:
            rows = self.window.hand_over(self.now, self.row, 400)
            unneeded = self.window.disk.unneeded.take()
            ledger = self.sender.ledger.changed(self.sender.next_seq - 1, self.sender.next_frame)
            kept = [(KEY, entry) for entry in ledger]
            puts = [(KEY, row) for row in rows]
            self.writing = (
                rows,
                Changes(puts, unneeded.rows, [(KEY, one) for one in unneeded.stretches], kept),
            )

    def stored(self) -> None:
        if self.writing is not None and self.store is not None:
            rows, changes = self.writing
            self.writing = None
            if changes.is_needed:
                self.store.apply(changes, self.moment())
                self.sender.ledger.written(entry for _, entry in changes.ledger)
                self.in_file.add(self.sender.start_id)
            self.window.written(rows)

    def refused(self) -> None:
        if self.writing is not None:
            rows, changes = self.writing
            self.writing = None
            self.window.writer.not_written(rows)
            stretches = [one for _, one in changes.delete_stretches]
            self.window.disk.unneeded.put_back(Unneeded(changes.deletes, stretches))

    def fetch(self) -> None:
        if self.store is not None and self.writing is None and self.reading is None:
            wanted = self.window.disk.reader.next_fetch()
            if wanted is not None:
                self.reading = wanted, self.store.fetch(KEY, wanted, self.moment())

    def fetched(self) -> None:
        if self.reading is not None:
            self.window.take_rows(*self.reading, self.now)
            self.reading = None

    def spool(self) -> None:
        self.hand_over()
        self.stored()

    def load(self) -> None:
        self.fetch()
        self.fetched()

    def trim(self, packets: int) -> None:
        if self.store is None or self.writing is not None or self.reading is not None:
            return
        for rows in self.store.oldest(self.moment()).values():
            plan = trim(self.window.disk, rows[: 1 + packets])
            if plan.lost:
                puts = [(KEY, row) for row in plan.puts]
                self.store.apply(Changes(puts, [row.row for row in plan.merged]), self.moment())
                self.window.disk.trimmed(plan.lost, plan.merged)

    # -- what happens to agents and their files

    def kill(self, *, is_late: bool = False) -> None:
        self.commit()
        if self.store is not None:
            if self.writing is not None and self.frames % 2:
                self.store.apply(self.writing[1], self.moment())
            self.store.close()
            self.store = None
        self.start(is_late=is_late)
        self.server.cut()

    def kill_late(self) -> None:
        """The next start finds its file locked."""
        self.kill(is_late=True)

    def remember(self) -> None:
        """What a power cut would leave."""
        if self.store is not None:
            self.store.sync()
            self.in_synced_file = set(self.in_file)
            shutil.rmtree(self.directory / "synced", ignore_errors=True)
            (self.directory / "synced").mkdir()
            for name in (FILE_NAME, WAL_NAME):
                if (self.directory / name).exists():
                    shutil.copy(self.directory / name, self.directory / "synced" / name)

    def power_cut(self) -> None:
        if (self.directory / "synced").exists():
            self.commit()
            if self.store is not None:
                self.store.close()
                self.store = None
            for name in (FILE_NAME, WAL_NAME):
                (self.directory / name).unlink(missing_ok=True)
                if (self.directory / "synced" / name).exists():
                    shutil.copy(self.directory / "synced" / name, self.directory / name)
            self.in_file = set(self.in_synced_file)
            self.server.cut()
            self.start(is_late=False)

    def lose_file(self) -> None:
        """It cannot be read any more: another one takes its place."""
        if self.store is not None and self.writing is None and self.reading is None:
            self.store.close()
            for name in (FILE_NAME, WAL_NAME):
                (self.directory / name).unlink(missing_ok=True)
            self.store = SpoolStore(self.directory, 10_000_000, self.moment())
            self.next_row, self.in_file = 1, set()
            self.window.disk_lost(self.now)
            self.sender.ledger.not_written()

    def cover_file(self) -> None:
        """Another directory is in the place of this one, with what an earlier start left there."""
        if self.store is None or self.writing is not None or self.reading is not None:
            return
        for name in (FILE_NAME, WAL_NAME):
            (self.directory / name).unlink(missing_ok=True)
        self.covers += 1
        late = SpoolStore(self.directory, 10_000_000, self.moment())
        puts = [(KEY, row) for row in self.made_before(f"{(1 << 32) + self.covers:016x}")]
        late.apply(Changes(puts), self.moment())
        left = late.left(self.moment())[KEY]
        offset = late.copy_from(self.store)
        late.close()
        self.store.close_emptied()
        self.store = SpoolStore(self.directory, 10_000_000, self.moment())
        self.next_row = max(self.next_row + offset, self.store.next_row)
        self.window.shift_rows(offset)
        self.window.offer(left.backlog)
        self.sender.ledger.read(left.ledger)
        self.remember()

    def made_before(self, start_id: str) -> list[SpoolRow]:
        before = spooled_lane("d", "frames", start_id, WindowLimits(), 1000, 0.0)
        assert isinstance(before.window, SpooledWindow)
        self.made[start_id] = []
        for frames in (2, 1, 3):
            ids = range(self.frames, self.frames + frames)
            self.frames += frames
            self.carried |= {(start_id, len(self.made[start_id]) + i): "" for i in range(frames)}
            self.made[start_id] += ids
            before.take_frames(_batch(ids), self.now, born_ns(ids[0]))
        return before.window.hand_over(self.now, partial(next, count(1)), 1 << 20)

    # -- what must hold

    def held(self) -> set[Position]:
        """Frames that are in the process or in its file, as they really are there."""
        held = [one for one in self.window.memory.held.values() if one.gap is None and one.frames]
        places = {(one.number.start_id, one.position or 0, one.frames or 0) for one in held}
        if self.store is not None:
            places |= set(self.store._file.db.execute(_DATA_ON_DISK))
        return {(start, x) for start, at, frames in places for x in range(at, at + frames)}

    def check_hello(self, hello: LaneHello) -> None:
        own = hello.starts[-1]
        made = len(self.made[self.sender.start_id]) - len(self.open)
        assert (own.start_id, own.frames, hello.next_frame) == (self.sender.start_id, made, made)
        assert not hello.complete or self.store is not None, "complete, and the file was not read"
        if hello.complete:
            assert self.in_file <= {one.start_id for one in hello.starts}, "written, and nobody knows of it"

        for one in hello.backlog:
            span = range(one.position or 0, (one.position or 0) + one.frames)
            carried = {self.carried[one.start_id, at] for at in span}
            assert carried <= {one.activation or ""}, "a range is carried for one thing, which it says"

    def check_held(self, held: Held) -> None:
        """From memory or from disk: what it is carried for, and since when it may have been on the bus."""
        span = range(held.position or 0, (held.position or 0) + (held.frames or 0))
        assert {self.carried[held.number.start_id, at] for at in span} <= {held.activation}
        body = decode_packet(held.packet).body
        if isinstance(body, FrameBatch):
            first_ns = born_ns(int(body.arbitration_id[0]))
            assert held.born_ns // 1_000_000 == first_ns // 1_000_000, "its age must outlive the disk"
            assert held.born_ns <= first_ns, "younger than it is"

    def quiesce(self) -> None:
        self.finish_batch()
        self.stored()
        self.fetched()
        self.open_file()
        self.connect()
        for _ in range(300):
            self.spool()
            self.load()
            while (packet := self.sender.next_packet()) is not None:
                self.up.append(packet)
            while self.up:
                self.deliver_up()
            self.commit()
            while self.down:
                self.deliver_down()
            if self.window.wants_greeting:
                self.connect()
            elif self.sender.is_empty:
                break
        assert self.sender.is_empty, f"{self.window.held_packets} packets still held when all is quiet"
        self.connect()
        self.spool()
        assert self.store is not None
        (left,) = self.store._file.db.execute("SELECT count(*) FROM packets").fetchone()
        assert not left, "acknowledged, and still on disk"

    def check(self) -> None:
        for start_id, frames in self.made.items():
            start = self.server.starts.get(start_id)
            if start is None:
                continue
            assert not start.in_gaps & set(start.recorded)
            assert len(start.recorded) + len(start.in_gaps) + len(start.holes) == start.end <= len(frames)
            assert all(frames[position] == frame for position, frame in start.recorded.items())
        own = self.server.starts[self.sender.start_id]
        assert not own.holes, "a hole of the start that speaks"
        assert own.end == len(self.made[self.sender.start_id])
        for start_id in self.made:
            mine = [number.seq for number in self.server.order if number.start_id == start_id]
            assert len(mine) == len(set(mine))


def born_ns(frame: int) -> int:
    """When it may have been on the bus first; nobody else knows it."""
    return 1_000_000_000 + frame * 1_234_567


def _batch(ids: Iterable[int]) -> FrameBatch:
    return batch_of([(0, i, 1, 8, bytes(8)) for i in ids])


STEPS = (
    "produce", "produce", "gather", "finish_batch", "clock", "mark", "source_loss", "send", "send",
    "deliver_up", "deliver_up", "commit", "deliver_down", "deliver_down", "connect", "cut", "tick",
    "hand_over", "stored", "refused", "fetch", "fetched", "trim", "spool", "spool", "load", "load",
    "pass_on", "pass_on",
)  # fmt: skip
ENDS = ("kill", "kill_late", "open_file", "open_file", "remember", "power_cut", "lose_file", "cover_file")
FULL = ("produce", "produce", "produce", "produce", "connect")
COUNTED = frozenset({"produce", "gather", "trim", "source_loss"})
REPEATED = frozenset({"send", "deliver_up", "pass_on", "load"})


@contextmanager
def world(window_bytes: int = 10**9, max_ranges: int = 2048) -> Iterator[World]:
    directory = Path(tempfile.mkdtemp(dir=_MEMORY if _MEMORY.is_dir() else None))
    made = World(directory, window_bytes, max_ranges)
    try:
        yield made
    finally:
        if made.store is not None:
            made.store.close()
        shutil.rmtree(directory)


def run(made: World, schedule: list[tuple[str, int]]) -> None:
    for step, x in schedule:
        if step == "tick":
            made.now += x
        elif step in COUNTED:
            getattr(made, step)(x)
        else:
            for _ in range(x if step in REPEATED else 1):
                getattr(made, step)()


def schedules(*more: str, without: frozenset[str] = frozenset()) -> st.SearchStrategy[list[tuple[str, int]]]:
    steps = [step for step in (*STEPS, *more) if step not in without]
    return st.lists(st.tuples(st.sampled_from(steps), st.integers(1, 4)), min_size=30, max_size=150)


@given(schedules(without=frozenset({"trim", "source_loss"})))
@settings(max_examples=200, deadline=None)
def test_with_a_spool_every_frame_is_recorded_once_in_order(schedule: list[tuple[str, int]]) -> None:
    with world() as made:
        run(made, schedule)
        made.quiesce()
        made.check()
        start = made.server.starts[made.sender.start_id]
        assert sorted(start.recorded.items()) == [(frame, frame) for frame in range(made.frames)]
        assert not start.in_gaps


@given(schedules(*ENDS), st.sampled_from([3, 2048]))
@settings(max_examples=400, deadline=None)
def test_whatever_happens_every_frame_is_recorded_once_or_in_a_gap(
    schedule: list[tuple[str, int]], max_ranges: int
) -> None:
    with world(max_ranges=max_ranges) as made:
        run(made, schedule)
        made.quiesce()
        made.check()


@given(schedules(*FULL, "kill", "kill_late", "open_file"), st.integers(60, 600))
@settings(max_examples=400, deadline=None)
def test_a_window_that_is_full_too_loses_exactly_what_its_gaps_say(
    schedule: list[tuple[str, int]], window_bytes: int
) -> None:
    with world(window_bytes) as made:
        run(made, schedule)
        made.quiesce()
        made.check()


@pytest.mark.parametrize("frames", [1, 4])
def test_a_file_that_goes_is_said_by_gaps_of_exact_positions(frames: int) -> None:
    with world() as made:
        for _ in range(5):
            made.produce(frames)
            made.now += 1
            made.spool()
        made.lose_file()
        made.produce(frames)
        made.quiesce()
        made.check()
        start = made.server.starts[made.sender.start_id]
        assert start.in_gaps == set(range(5 * frames))
        assert list(start.recorded) == list(range(5 * frames, 6 * frames))
        assert made.window.trimmed_frames == 5 * frames
