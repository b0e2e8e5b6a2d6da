"""A small gateway of the other bus, for tests of what a server hands it: a record, a queue and one burst."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Final

from msgspec import Struct, field

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.protocol.packets import decode_packet
from can_stream.protocol.relay_control import Cursor, Direction, SinkHello, Totals
from stream_server.relay.values import RelayCounts, RelayItem

BURST_FRAMES: Final = 2
Reasons = dict[int, str]
"""What has become of each frame, by its number in the world."""
_record_ids: Final = count(1)


class ViolationError(AssertionError):
    """An invariant of the relay does not hold; the text begins with its number."""


def need(holds: bool, what: str) -> None:
    """Raises ViolationError."""
    if not holds:
        raise ViolationError(what)


class Burst(Struct):
    """What is on its way to the bus: frames by number, since when, and the cursor behind them."""

    start_id: str
    through: int
    frames: list[int]
    born_ns: int
    is_written: bool = False


class Record(Struct):
    """What survives a kill. `floor_ns`: nothing made before is sent, unless it is fresh."""

    record_id: str
    floor_ns: int
    cursors: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, Reasons] = field(default_factory=dict)
    burst: Burst | None = None


class Report(Struct):
    """A cursor, and for the world which frames it speaks of."""

    cursor: Cursor
    reasons: Reasons


def new_record(now_ns: int) -> Record:
    """One that begins now."""
    return Record(f"{next(_record_ids):032x}", now_ns)


class TestSink:
    """`bus`: what was put on it. `frames_of` knows what a start has made, by position: its number in the
    world, and whether it is another's frame."""

    __test__ = False

    def __init__(self, source: str, max_age_ns: int, now_ns: int) -> None:
        self.source = source
        self.max_age_ns = max_age_ns
        self.record = new_record(now_ns)
        self.queue: deque[RelayItem | RelayCounts] = deque()
        self.bus: list[int] = []
        self.frames_of: dict[str, list[tuple[int, bool]]] = {}
        self.reports: deque[Report] = deque()
        self.sent_now: list[int] = []

    # -- its connection

    def hello(self, now_ns: int) -> SinkHello:
        """What it says first on a connection; an open burst is finished before."""
        while self.record.burst is not None:
            self.step(now_ns)
        self.queue.clear()
        self.reports.clear()
        cursors = [self._cursor(start_id) for start_id in self.record.cursors]
        return SinkHello("sink", self.record.record_id, cursors)

    def directed(self, direction: Direction, reasons: dict[str, Reasons], now_ns: int) -> None:
        """What the server answers, or says anew. `reasons`: what its cursors speak of."""
        self.queue.clear()
        record = self.record
        if direction.begins_anew:
            record.cursors, record.reasons, record.floor_ns = {}, {}, now_ns
        for cursor in direction.cursors:
            if cursor.position > record.cursors.get(cursor.start_id, 0):
                record.cursors[cursor.start_id] = cursor.position
                record.reasons[cursor.start_id] = dict(reasons.get(cursor.start_id, {}))

    # -- its bus

    def step(self, now_ns: int) -> None:
        """The next micro step: count or skip something, open a burst, write it, close it."""
        burst = self.record.burst
        if burst is None:
            self._begin(now_ns)
        elif not burst.is_written and now_ns - burst.born_ns > self.max_age_ns:
            self.record.burst = None
            self._settle(burst.start_id, burst.through, dict.fromkeys(burst.frames, "too_old"))
        elif not burst.is_written:
            burst.is_written = True
            self.bus += burst.frames
            self.sent_now += burst.frames
        else:
            self.record.burst = None
            self._settle(burst.start_id, burst.through, dict.fromkeys(burst.frames, "sent"))

    def kill(self) -> None:
        """The process dies and begins again: what was open is in doubt."""
        burst, self.record.burst = self.record.burst, None
        self.queue.clear()
        self.reports.clear()
        if burst is not None:
            self._settle(burst.start_id, burst.through, dict.fromkeys(burst.frames, "in_doubt"))

    def _begin(self, now_ns: int) -> None:
        while self.queue:
            handed = self.queue[0]
            start_id = handed.start_id if isinstance(handed, RelayCounts) else handed.number.start_id
            at = self.record.cursors.get(start_id, 0)
            if at >= handed.through:
                self.queue.popleft()
                continue
            if isinstance(handed, RelayCounts):
                self.queue.popleft()
                self._count(handed, at)
                return
            batch = decode_packet(handed.packet)
            assert isinstance(batch.body, FrameBatch)
            assert batch.position is not None
            self._open(start_id, batch.position, batch.body, handed, max(at, batch.position), now_ns)
            return

    def _count(self, counts: RelayCounts, at: int) -> None:
        whole = self._others(counts.start_id, counts.first, counts.through)
        left = self._others(counts.start_id, max(counts.first, at), counts.through)
        length = counts.through - counts.first
        # Of frames that never came nobody knows which are own echoes.
        need(len(whole) <= counts.frames <= length, f"(3) {counts} stands for {len(whole)} frames")
        # A gateway that has passed a part knows no more of it than how long it is.
        known = min(counts.frames, counts.through - max(counts.first, at))
        need(len(left) <= known, f"(3) {counts} cannot be counted from {at} on")
        why = "in_doubt" if counts.in_doubt else counts.reason
        self._settle(counts.start_id, counts.through, dict.fromkeys(left, why))

    def _open(
        self, start_id: str, position: int, batch: FrameBatch, item: RelayItem, at: int, now_ns: int
    ) -> None:
        through = min(at + BURST_FRAMES, item.through)
        numbers = [
            int.from_bytes(batch.data[place - position].tobytes(), "little")
            for place in range(at, through)
            if not batch.flags[place - position] & FrameFlag.TX
        ]
        if through == item.through:
            self.queue.popleft()
        if not item.fresh and item.born_ns <= self.record.floor_ns:
            self._settle(start_id, through, dict.fromkeys(numbers, "in_doubt"))
        elif now_ns - item.born_ns > self.max_age_ns:
            self._settle(start_id, through, dict.fromkeys(numbers, "too_old"))
        else:
            self.record.burst = Burst(start_id, through, numbers, item.born_ns)

    def _others(self, start_id: str, first: int, through: int) -> list[int]:
        return [number for number, is_other in self.frames_of[start_id][first:through] if is_other]

    def _settle(self, start_id: str, through: int, reasons: Reasons) -> None:
        mine = self.record.reasons.setdefault(start_id, {})
        for number, reason in reasons.items():
            need(number not in mine, f"(3) frame {number} is {mine.get(number)} and {reason}")
            mine[number] = reason
        self.record.cursors[start_id] = max(through, self.record.cursors.get(start_id, 0))
        self.reports.append(Report(self._cursor(start_id), dict(mine)))

    def _cursor(self, start_id: str) -> Cursor:
        reasons = list(self.record.reasons.get(start_id, {}).values())
        names = {reason for reason in reasons if reason not in ("sent", "in_doubt")}
        not_sent = {name: reasons.count(name) for name in sorted(names)}
        totals = Totals(sent=reasons.count("sent"), in_doubt=reasons.count("in_doubt"), not_sent=not_sent)  # type: ignore[arg-type]
        return Cursor(self.source, start_id, self.record.cursors.get(start_id, 0), totals)
