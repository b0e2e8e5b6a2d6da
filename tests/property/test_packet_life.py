"""Whatever an agent, a connection and a disk do: a packet goes the ways of its table, and all of them."""

from __future__ import annotations

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from can_stream.lanes.window import MemoryWindow, WindowLimits
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import GapReason
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.lanes.spooled_window import SpooledWindow, spooled_lane
from edge_agent.lanes.trim import trim
from tests.helpers.packet_life import TRANSITIONS, WITHOUT_DISK, Life
from tests.property.test_lane_sessions import World

# Some three packets.
WINDOW_BYTES: Final = 200
STEPS: Final = ("make", "make", "send", "acknowledge", "lose_connection", "lose_acks", "connect", "catch_up")
DISK_STEPS: Final = ("write", "fail_to_write", "trim")
Step = tuple[Life, str, Life]


class DiskWorld(World):
    """One lane that is spooled; its disk is a dictionary."""

    def start_agent(self) -> None:
        self.starts += 1
        self.rows: dict[int, SpoolRow] = {}
        self.next_row = 1
        limits = WindowLimits(self.window_bytes, max_in_flight=3)
        self.sender = spooled_lane("d", "frames", f"{self.starts:016x}", limits, 1000, 0.0)
        assert isinstance(self.sender.window, SpooledWindow)
        self.window = self.sender.window
        self.sender.take_loss(GapReason.START, None, self.now)
        self.cut()

    def row(self) -> int:
        self.next_row += 1
        return self.next_row - 1

    def write(self, *, works: bool) -> None:
        handed = self.window.hand_over(self.now, self.row, 400)
        unneeded = self.window.disk.unneeded.take()
        if not works:
            self.window.writer.not_written(handed)
            self.window.disk.unneeded.put_back(unneeded)
            return
        gone = {
            *unneeded.rows,
            *(row for one in unneeded.stretches for row in range(one.first_row, one.last_row + 1)),
        }
        kept = {number: row for number, row in self.rows.items() if number not in gone}
        self.rows = kept | {row.row: row for row in handed}
        self.window.written(handed)

    def load(self) -> None:
        wanted = self.window.disk.reader.next_fetch()
        if wanted is not None:
            there = [one for row, one in self.rows.items() if wanted.after_row < row <= wanted.through_row]
            self.window.take_rows(
                wanted, [one for one in there if one.first_seq <= wanted.last_seq], self.now
            )

    def trim(self, count: int) -> None:
        plan = trim(self.window.disk, list(self.rows.values())[:count])
        self.rows |= {row.row: row for row in plan.puts}
        for row in plan.merged:
            del self.rows[row.row]
        self.window.disk.trimmed(plan.lost, plan.merged)


class Lives:
    """The lives of all packets of a lane; `seen` gets each step of each of them."""

    def __init__(self, world: World, seen: set[Step]) -> None:
        self.world = world
        self._seen = seen
        self._lives: dict[PacketNumber, Life] = {}

    def make(self) -> None:
        self.world.produce(1)
        lane = self.world.sender
        self._lives[PacketNumber(lane.start_id, lane.next_seq - 1)] = Life.NOWHERE
        self._look("made")

    def send(self) -> None:
        self.world.send()
        self._look("sent")

    def acknowledge(self) -> None:
        self._record()
        while self.world.down:
            self.world.deliver_down()
        self._look("ack")

    def lose_connection(self) -> None:
        self.world.cut()
        self._look("connection lost")

    def lose_acks(self) -> None:
        self._record()
        self.lose_connection()

    def connect(self) -> None:
        if self.world.connection is None:
            self.world.connect()
            self._look("server had it")

    def catch_up(self) -> None:
        """What usually follows: where each step alone is drawn, little gets far."""
        self.connect()
        for _ in range(3):
            self.send()

    def _record(self) -> None:
        while self.world.up:
            self.world.deliver_up()
        self.world.commit()

    def _look(self, event: str) -> None:
        for number, before in self._lives.items():
            if before is Life.GAP:  # what stands for it has a life of its own
                continue
            now = self._lives[number] = self._life(number)
            if now is not before:
                made_room = event == "made" and before is not Life.NOWHERE
                step = (before, "window full" if made_room else event, now)
                assert step in TRANSITIONS
                self._seen.add(step)

    def _life(self, number: PacketNumber) -> Life:
        memory = self._memory
        held = memory.find(number)
        if held is not None and held.gap is None:
            return Life.ON_ITS_WAY if self._is_sent(number) else Life.WAITING
        gaps = [one for one in memory.held.values() if one.gap is not None]
        if any(one.first_seq <= number.seq <= one.number.seq for one in gaps):
            return Life.GAP
        assert self.world.storage.has(number), f"{number} is nowhere"
        return Life.ACKNOWLEDGED

    @property
    def _memory(self) -> MemoryWindow:
        window = self.world.sender.window
        assert isinstance(window, MemoryWindow)
        return window

    def _is_sent(self, number: PacketNumber) -> bool:
        sent = self.world.sender._sent.values()
        return any(number == one for packets in sent for one, _ in packets.numbers)


class LivesOnDisk(Lives):
    """Those of a lane that has a disk."""

    world: DiskWorld

    def write(self) -> None:
        self.world.write(works=True)
        self._look("written")

    def fail_to_write(self) -> None:
        self.world.write(works=False)
        self._look("not written")

    def send(self) -> None:
        self.world.load()
        self._look("read")
        super().send()

    def trim(self) -> None:
        self.world.trim(2)
        self._look("spool full")

    def _life(self, number: PacketNumber) -> Life:
        window = self.world.window
        held = window.disk.reader.find(number)
        if held is not None:
            on_disk = Life.ON_ITS_WAY_FROM_DISK if self._is_sent(number) else Life.ON_DISK
            return Life.GAP if held.gap is not None else on_disk
        there = [one for one in self.world.rows.values() if one.first_seq <= number.seq <= one.number.seq]
        if window.find(number) or not there or window.disk.backlog.stretch_of(there[0]) is None:
            return super()._life(number)
        return Life.ON_DISK if there[0].gap is None else Life.GAP

    @property
    def _memory(self) -> MemoryWindow:
        return self.world.window.memory


def schedules(*steps: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(steps), min_size=40, max_size=120)


def test_a_packet_goes_every_way_of_the_table_and_no_other() -> None:
    seen: set[Step] = set()

    @given(schedules(*STEPS))
    @settings(max_examples=50)
    def in_memory(schedule: list[str]) -> None:
        lives = Lives(World(WINDOW_BYTES), seen)
        for step in schedule:
            getattr(lives, step)()

    @given(schedules(*STEPS, *DISK_STEPS))
    @settings(max_examples=100)
    def on_disk(schedule: list[str]) -> None:
        lives = LivesOnDisk(DiskWorld(WINDOW_BYTES), seen)
        for step in schedule:
            getattr(lives, step)()

    in_memory()
    assert seen <= WITHOUT_DISK
    on_disk()
    assert seen == set(TRANSITIONS)
