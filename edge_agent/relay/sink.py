"""One bus that a group's other side may write to: what waits for it, what is in its driver, what is settled.

The model is `B` of relay_next: mem is the record, open its burst, queue what waits. It is told the time, what
was read back, and how the bus stands; it does nothing by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.protocol.relay_control import Cursor, Direction, SinkHello, Totals
from can_stream.protocol.relay_items import Counts
from edge_agent.relay.account.hop_ages import Arrival
from edge_agent.relay.account.latencies import Latencies
from edge_agent.relay.burst import Burst, Cut, frame_keys
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.circle.loops import LoopWatch
from edge_agent.relay.driver import Driver
from edge_agent.relay.judging import Judge, Judged
from edge_agent.relay.lease import Lease
from edge_agent.relay.leftover.late import LateFrames
from edge_agent.relay.load_limits import LoadLimits
from edge_agent.relay.record import Record
from edge_agent.relay.settling import Settling
from edge_agent.relay.waiting import Waiting, WaitingItem
from edge_agent.transmit.policy import RelayPolicy

# Without its echo for so long, or for `max_age_seconds` where that is less, a frame is in doubt.
ECHO_NS: Final = 1_000_000_000
# After the driver's queue had no room for a single frame.
TRY_AGAIN_NS: Final = 5_000_000
_JUDGED_ROWS: Final = 32
_STEPS: Final = 64
_TX: Final = int(FrameFlag.TX)


class SinkLimits(Struct, frozen=True):
    """The bounds of one sink, by [relay]. Times in seconds, loads as shares of the bit rate."""

    max_age_seconds: float
    lease_seconds: float = 2.0
    max_bus_load: float = 0.3
    max_live_bus_load: float = 0.9
    dry_run: bool = False
    queue_frames: int = 2_000


class Sink:
    """All times are `now_ns` of CLOCK_BOOTTIME.

    `waits_for`: why nothing is sent now, a word of `account/words.WAITS`, or "". `by_id`: what has become of
    frames since this process began. `loops` hears what is read from the bus.
    `latencies`: how old frames were when they were confirmed. `driver`: told where the bus is opened anew.
    `wants_emptying`: whether its driver is to be emptied, as of the last look at the bus: frames wait for
    that alone, or some were given up inside.
    """

    def __init__(
        self, dongle_id: str, record: Record, policy: RelayPolicy, limits: SinkLimits, now_ns: int
    ) -> None:
        """An open burst of the record, left by a process that was killed, is in doubt."""
        self.waits_for = ""
        self.loops: Final = LoopWatch(limits.max_live_bus_load, record.looped, record.loop_found)
        self.wants_emptying = False
        self._dongle_id = dongle_id
        self._record = record
        self._limits = limits
        self._max_age_ns = round(limits.max_age_seconds * 1e9)
        self._settling = Settling(record, now_ns)
        self.driver: Final = Driver(LateFrames(record.left, record.leave))
        self.by_id: Final = self._settling.by_id
        self._judge = Judge(policy, self._settling.is_doubtful)
        self._lease = Lease(round(limits.lease_seconds * 1e9))
        self._load = LoadLimits(limits.max_bus_load, limits.max_live_bus_load)
        self._waiting = Waiting(limits.queue_frames)
        self.latencies = Latencies()
        self._is_dry = limits.dry_run
        self._burst_before: Burst | None = None
        self._bus: BusFacts | None = None
        self._not_before_ns = 0
        self._has_more = False

    @property
    def credit(self) -> int:
        """How many frames of items may be handed in all since the last directions.

        0 while a burst from before them is open: what has become of it is told first, and then both sides
        know of the same frames what has become of them. To be said after what `moved` gives.
        """
        burst = self.driver.burst
        return 0 if burst is not None and burst is self._burst_before else self._waiting.credit

    def hello(self) -> SinkHello:
        """What the record says."""
        return SinkHello(self._dongle_id, self._record.record_id, self._record.cursors())

    def directed(self, direction: Direction | None, now_ns: int) -> None:
        """The server's directions, after each connection and each change: what waits is dropped, unsettled.

        No items may be handed before `credit` was said after it: only then does the server know that a record
        that had to begin anew has done so.
        """
        self._waiting.clear(is_open=direction is not None)
        self._burst_before = self.driver.burst
        self._is_dry = self._limits.dry_run or (direction is not None and direction.dry_run)
        self._lease.begin(direction.activation if direction else None)
        if direction is not None:
            if direction.begins_anew:
                self.driver.give_up()
            self._settling.begin(direction, now_ns)
            self.loops.begin(direction.activation)
        self.waits_for = self.loops.found

    def take_item(
        self,
        start_id: str,
        position: int,
        frames: FrameBatch,
        born_ns: int | None,
        fresh: bool,
        now_ns: int,
        transit_ns: int | None = None,
        from_log: bool = False,
    ) -> None:
        """Frames to be sent. Raises SessionError beyond the credit, or without a direction."""
        arrival = None if transit_ns is None else Arrival(now_ns, transit_ns)
        self._waiting.add(WaitingItem(start_id, position, frames, born_ns, fresh, arrival, from_log))
        self._has_more = True

    def take_counts(self, counts: Counts, now_ns: int) -> None:
        """Frames that are not handed over, settled in their turn. Raises SessionError."""
        self._waiting.add_counts(counts)
        self._has_more = True

    def leased(self, ping_sent_ns: int, activations: Collection[str]) -> None:
        """A pong: the activations that were on after the own ping was sent at `ping_sent_ns`."""
        self._lease.answered(ping_sent_ns, activations)
        self._has_more = True

    def disconnected(self, now_ns: int) -> None:
        """No items come any more; what waits is dropped, unsettled. The open burst goes on."""
        self._waiting.clear(is_open=False)

    def next_burst(self, now_ns: int, bus: BusFacts) -> FrameBatch | None:
        """What is to be written now, all of it at once; the record knows it before it is returned.

        To be followed by `written`. Also what refuses frames and lets them grow old: call it when `due_in_ns`
        says so, whatever the bus is doing.
        """
        self._bus = bus
        self._load.set_bus(bus.bit_rate, bus.data_bit_rate)
        self._give_up(now_ns, at_once=not bus.is_up)
        if self.driver.burst is not None:
            self.waits_for, self.wants_emptying = self.loops.found or "burst", False
            return None
        burst = self._advance(now_ns, bus)
        must_empty = burst is None and self.driver.must_empty and not self._is_dry
        self.wants_emptying = must_empty and (self.driver.has_left or self.waits_for == "queue")
        self.waits_for = self.loops.found or self.waits_for
        return burst

    def written(self, taken: int, now_ns: int) -> None:
        """The driver took the first `taken` frames of the last burst, and none of the rest.

        An interface that confirms by its adapter calls it when the adapter has answered. Where the device is
        gone: 0 if surely nothing was taken, else leave it to `next_burst` with `is_up` False.
        """
        burst = self.driver.burst
        if burst is None:
            self.driver.took_late(taken)
            return
        if taken:
            busy_ns = self._load.taken_ns * taken // len(burst.frames)
            frames = burst.frames if taken == len(burst.frames) else burst.frames[:taken]
            self.loops.put(frames, burst.keys[:taken], busy_ns, now_ns)
        if taken < len(burst.frames):
            self._load.give_back(burst.frames[taken:])
            self._not_before_ns = now_ns + TRY_AGAIN_NS
            if taken:
                burst.keep(taken)
            else:
                self.driver.cancel()
            self._record.open(burst.opened() if taken else None)
        if taken and burst.confirms != "bus":
            for born_ns in burst.born_ns[:taken]:
                self.latencies.add(now_ns - born_ns)
            self._close(burst, _went(burst, 0), now_ns)
            self.driver.confirmed()

    def echoed(self, frames: FrameBatch, now_ns: int) -> int:
        """Own frames (FrameFlag.TX) that were read back from the bus: how many of them were the relay's."""
        if not self.driver.awaits:
            return 0
        is_own = (frames.flags & _TX) != 0
        keys = frame_keys(frames if is_own.all() else frames[is_own])
        burst, rows = self.driver.burst, self.driver.echoes(keys)
        ours, rest = len(rows), [] if rows else keys
        if burst is not None:
            self.latencies.add_all([now_ns - burst.born_ns[row] for row in rows])
        for key in rest:
            burst = self.driver.burst
            row = self.driver.echo(key)
            ours += row is not None
            if row is None or row < 0 or burst is None:
                continue
            self.latencies.add(now_ns - burst.born_ns[row])
            if not burst.has_awaited:
                self._close(burst, _went(burst, 0), now_ns)
                self.driver.confirmed()
        if rows and burst is not None and not burst.has_awaited:
            self._close(burst, _went(burst, 0), now_ns)
            self.driver.confirmed()
        return ours

    def emptied(self, now_ns: int) -> None:
        """It is known that nothing is in the driver any more."""
        self.driver.emptied()
        self._has_more, self.wants_emptying = True, False

    def spent(self, frames: FrameBatch, now_ns: int) -> None:
        """Something else of this gateway has sent these: they count as load too."""
        self._load.use(frames)

    def tick(self, now_ns: int) -> None:
        """Lets the open burst grow old, and what waits behind none."""
        self._give_up(now_ns)
        if self.driver.burst is None and self._bus is not None:
            self._advance(now_ns, self._bus, may_send=False)

    def due_in_ns(self, now_ns: int) -> int | None:
        """When `next_burst` has something to do although nothing else happens; None: never."""
        if self.driver.burst is not None:
            return max(0, self.driver.burst.deadline_ns - now_ns)
        head = self._waiting.head
        if head is None:
            return None
        if self._has_more or isinstance(head, Counts) or head.born_ns is None:
            return 0
        due_ns = head.born_ns + self._max_age_ns + 1
        if self.waits_for == "bus_load":
            due_ns = min(due_ns, now_ns + self._load.wait_ns())
        if self.waits_for == "queue" and not self.driver.must_empty:
            due_ns = min(due_ns, self._not_before_ns)
        return max(0, due_ns - now_ns)

    def moved(self) -> list[Cursor]:
        """The cursors that have moved, or were asked for, since the last call.

        To be said after directions alone: where those begin anew, what the record said before is void.
        """
        return self._settling.moved()

    @property
    def must_empty(self) -> bool:
        """Whether nothing is sent before `emptied`, or the echo of a probing frame."""
        return self.driver.must_empty

    def take_latency_ms(self) -> tuple[float, float] | None:
        """Ages since the last call of what was confirmed: p50 and p99; None where nothing was."""
        return self.latencies.take_ms()

    # -- what is at the head

    def _advance(self, now_ns: int, bus: BusFacts, *, may_send: bool = True) -> FrameBatch | None:
        """Settles what is at the head and never goes; the next burst, else `waits_for` says why not."""
        for _ in range(_STEPS):
            head = self._next_head(now_ns)
            if head is None:
                self._has_more, self.waits_for = False, ""
                return None
            items = self._waiting.next_items(_JUDGED_ROWS)
            behind = self._waiting.items()[len(items) :] if self._judge.looks_behind else []
            judged = self._judge.judge(items, behind, bus, now_ns, _JUDGED_ROWS)
            rows = judged.may_go()
            refused = rows[0] if rows else len(judged.fates)
            if refused:
                self._waiting.cut(judged.start_id, self._settling.refuse(judged, refused, now_ns))
                continue
            if not may_send:
                return None
            cut = self._cut(judged, rows, now_ns, bus)
            if cut is None:
                self._has_more = False
                return None
            burst = self._open(judged.start_id, cut, now_ns, bus)
            if burst is not None:
                return burst.frames
        self._has_more = True
        return None

    def _next_head(self, now_ns: int) -> WaitingItem | None:
        """The item whose frames are next; rows of counts before it, and what came late, are passed."""
        while (head := self._waiting.head) is not None:
            if isinstance(head, Counts):
                self._waiting.pop_counts()
                self._settling.count(head, now_ns)
                continue
            at = self._settling.at(head.start_id)
            if at <= head.position:
                return head
            self._settling.ask(self._settling.source_dongle_id, head.start_id)
            self._waiting.cut(head.start_id, at)
        return None

    def _hindrance(self, now_ns: int, bus: BusFacts) -> str:
        """Why the frames at the head, which may go, must wait; "" where they need not."""
        if self.loops.found:
            return self.loops.found
        if not bus.is_up:
            return "bus"
        if not self._lease.holds(now_ns):
            return "lease"
        if self._is_dry:
            return "" if bus.bit_rate else "bit_rate"
        if not self.driver.takes(can_probe=bus.can_probe) or now_ns < self._not_before_ns:
            return "queue"
        return "" if bus.bit_rate else "bit_rate"

    def _cut(self, judged: Judged, rows: Sequence[int], now_ns: int, bus: BusFacts) -> Cut | None:
        """As many frames as may be sent now; None where they must wait, and `waits_for` says why."""
        self.waits_for = self._hindrance(now_ns, bus)
        if self.waits_for:
            return None
        rows = judged.together(rows[: self.driver.limit])
        cut = judged.cut(rows)
        fitting = self._load.take(cut.frames, cut.born_ns[0], now_ns)
        if not fitting:
            self.waits_for = "bus_load"
            return None
        return cut if fitting == len(rows) else judged.cut(rows[:fitting])

    def _open(self, start_id: str, cut: Cut, now_ns: int, bus: BusFacts) -> Burst | None:
        """The next burst, which the record knows; None where it is only counted."""
        deadline_ns = now_ns + min(self._max_age_ns, ECHO_NS)
        burst = Burst(self._settling.source_dongle_id, start_id, cut, bus.confirms, deadline_ns)
        head = self._waiting.head
        burst.opened_ns, burst.arrival = now_ns, head.arrival if isinstance(head, WaitingItem) else None
        if self._is_dry:
            self._close(burst, Totals(not_sent={"dry_run": len(cut.frames)}), now_ns)
            return None
        self._record.open(burst.opened())
        self.driver.open(burst)
        return burst

    # -- how a burst ends

    def _give_up(self, now_ns: int, *, at_once: bool = False) -> None:
        """Where the burst's echoes have not come in time, the frames without one are in doubt."""
        burst = self.driver.burst
        at_once = at_once or self.driver.is_abandoned
        if burst is not None and (at_once or now_ns >= burst.deadline_ns):
            doubt = self.driver.give_up()
            self._close(burst, _went(burst, doubt), now_ns)

    def _close(self, burst: Burst, totals: Totals, now_ns: int) -> None:
        self._settling.close(burst, totals, now_ns)
        frames = totals.sent + totals.accepted
        if frames and not totals.in_doubt:
            hops = self.latencies.hops
            hops.confirmed(frames, burst.born_ns[0], burst.arrival, burst.opened_ns, now_ns)
        if burst.source_dongle_id == self._settling.source_dongle_id:  # two dongles of one agent share starts
            self._waiting.cut(burst.start_id, burst.through)
        self._has_more = True


def _went(burst: Burst, doubt: int) -> Totals:
    """All but `doubt` of a burst: it was on the bus, or was taken by what tells no more than that."""
    frames = len(burst.frames) - doubt
    if burst.confirms == "bus":
        return Totals(sent=frames, in_doubt=doubt)
    return Totals(accepted=frames, in_doubt=doubt)
