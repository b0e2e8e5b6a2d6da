"""Keeps one sink moving: what it lets go is written to the bus, what the bus gives back is told to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from msgspec import Struct

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.protocol.control import CanEmptyQueue, Confirms
from edge_agent.errors import SourceError
from edge_agent.helper.emptier import Emptier, QueueHelper
from edge_agent.host.clock import Clock
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.bus_watch import BusWatch
from edge_agent.relay.figures import BROKEN
from edge_agent.relay.sink import Sink
from edge_agent.relay.stopping import Switches
from edge_agent.transmit.policy import TargetBus
from edge_agent.transmit.writer import Writer

# So many bursts follow each other before everybody else has a turn; where echoes are waited for it is one.
MOST_BURSTS: Final = 8
# How long echoes are looked for without the reader's beat: a burst is in doubt by then.
HURRY_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.5
_TX: Final = int(FrameFlag.TX)
_logger: Final = logging.getLogger(__name__)
_EMPTY_LOOK_SECONDS: Final = 0.02
_WRITE_AGAIN_SECONDS: Final = 0.001
_LATE: Final = "%s: frames came out that had been left in its driver: they are own ones, and not relayed"


class BusRates(Struct, frozen=True):
    """What a bus carries; the rates in bit/s, None where neither the kernel nor the configuration says."""

    target: TargetBus
    bit_rate: int | None
    data_bit_rate: int | None


class BusPort(Protocol):
    """The bus of a dongle, as whoever writes to it sees it."""

    @property
    def writer(self) -> Writer | None:
        """Of the bus as it is open now, another one each time it was opened; None where nobody may write."""

    @property
    def is_up(self) -> bool:
        """Whether it is read, and can carry frames as far as is known."""

    @property
    def rates(self) -> BusRates:
        """As they are now."""

    def hurry(self, seconds: float) -> None:
        """Reads without a beat for so long."""

    def reopen(self, why: SourceError) -> None:
        """It cannot be written to: it is opened again."""


class SinkRunner:
    """`on_reports` is called where the server is to be told something, `on_change` where the dongle's side of
    the relay stands differently: `stopped` and `writer` are what is told of it.
    """

    def __init__(
        self,
        sink: Sink,
        port: BusPort,
        watch: BusWatch,
        switches: Switches,
        clock: Clock,
        on_reports: Callable[[], None] = lambda: None,
        on_change: Callable[[], None] = lambda: None,
        helper: QueueHelper | None = None,
    ) -> None:
        self._helper = None if helper is None else Emptier(helper, clock, self.wake)
        self.sink: Final = sink
        self.switches: Final = switches
        self.stopped = switches.stopped()
        self.writer: Writer | None = None
        self._port = port
        self._watch = watch
        self._clock = clock
        self._on_reports = on_reports
        self._on_change = on_change
        self._newest: Writer | None = None
        self._failed: Writer | None = None
        self._empties = ""
        self._unanswered = self._taken = 0
        self._is_broken = False
        self._wake = asyncio.Event()

    @property
    def is_asleep(self) -> bool:
        """Whether nobody else speaks on the bus, so that nothing is sent there."""
        return self._watch.is_asleep(self._clock.boottime_ns())

    @property
    def confirms(self) -> Confirms:
        """What the interface tells of what was sent.

        Where it is only not open, as it did last, or the least that any may: a way that is closed meanwhile
        would count what waits for the bus.
        """
        writer = self._port.writer or self._newest
        if writer is None:
            return "none" if self._port.is_up else "queue"  # what is up and nobody may write to only listens
        return writer.confirms

    @property
    def bit_rate(self) -> int:
        """Of the bus, in bit/s; 0 where it is not known."""
        return self._port.rates.bit_rate or 0

    @property
    def gate(self) -> str:
        """Why its gates forbid frames now, "" where they do not."""
        return self.switches.gate_closed(self._clock.boottime_ns())

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    def hear(self, frames: FrameBatch) -> FrameBatch:
        """What was read from the bus, before anything else is done with it.

        The same, and marked as own what this gateway had put there before this process or opening.
        """
        now_ns = self._clock.boottime_ns()
        self._look_at_opening(self._port.writer)
        # Outside of what is caught below: a fault here ends the agent, rather than let a frame go back.
        known = self.sink.driver.late.marked(frames, now_ns)
        if known is not frames:
            _logger.warning(_LATE, self.sink.hello().dongle_id)
        if self._is_broken:
            return known
        try:
            self._hear(frames, known, now_ns)
        except Exception:  # whatever it is, the bus must go on being read
            self._break()
        return known

    def _hear(self, frames: FrameBatch, known: FrameBatch, now_ns: int) -> None:
        if self.sink.loops.hear(known, now_ns):
            self._on_reports()
            self._wake.set()
        if not self._watch.hear(known, now_ns):
            return
        own = frames[(frames.flags & _TX) != 0]
        if len(own):  # what is late proves nothing of what was written since
            if self._unanswered:
                self._answered(len(own), now_ns)
            self.sink.echoed(own, now_ns)
            self._on_reports()
            self._wake.set()

    def _answered(self, count: int, now_ns: int) -> None:
        """An adapter has taken so many frames more: what it has said of all of them is what was written."""
        self._unanswered = max(0, self._unanswered - count)
        if not self._unanswered and not self.sink.must_empty:
            self.sink.written(self._taken, now_ns)

    async def run(self) -> None:
        """Until cancelled. A fault of ours ends the relay to this bus, and nothing else of the agent."""
        try:
            await self._run()
        finally:
            if self._helper is not None:
                self._helper.close()

    async def _run(self) -> None:
        while not self._is_broken:
            self._wake.clear()
            try:
                wait_seconds = self._pump()
            except Exception:
                self._break()
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()

    def _pump(self) -> float:
        """Does what can be done now; for how long nothing more can, unless something happens."""
        self._look()
        now_ns = self._clock.boottime_ns()
        if self.sink.must_empty and self.writer is not None and self.writer.is_empty():
            self.sink.emptied(now_ns)
        if self._helper is not None and self._helper.step(self.sink.wants_emptying, self._opened(), now_ns):
            self.sink.emptied(now_ns)
        wrote_short = False
        for _ in range(MOST_BURSTS):
            now_ns = self._clock.boottime_ns()
            burst = self.sink.next_burst(now_ns, self._facts(now_ns))
            if burst is None or self.writer is None:
                break
            if wrote_short := not self._write(self.writer, burst):
                break
        else:
            return 0.0
        self._on_reports()
        return self._due_seconds(wrote_short=wrote_short)

    def _write(self, writer: Writer, burst: FrameBatch) -> bool:
        """Whether the driver took all of it."""
        self._port.hurry(HURRY_SECONDS)
        try:
            taken = writer.write(burst)
        except SourceError as error:
            taken, self._failed = 0, writer
            self._port.reopen(error)
        if taken and writer.confirms == "adapter":
            self._unanswered = self._taken = taken
        else:
            self._unanswered = 0
            self.sink.written(taken, self._clock.boottime_ns())
        return taken == len(burst)

    def _break(self) -> None:
        _logger.exception("nothing is relayed any more to this bus: %s", self.sink.hello().dongle_id)
        self._is_broken = True
        self.stopped = BROKEN
        self._on_change()

    def _look(self) -> None:
        """At what a person or a plug may have changed."""
        stopped, writer = self.switches.stopped(), self._port.writer
        empties = "" if writer is None else writer.can_empty_queue
        if (stopped, writer, empties) != (self.stopped, self.writer, self._empties):
            self._look_at_opening(writer)
            self.stopped, self.writer, self._empties = stopped, writer, empties
            self._on_change()

    def _look_at_opening(self, writer: Writer | None) -> None:
        if writer is not None and writer is not self._newest:
            self._newest = writer
            self.sink.driver.reopened()
            self._wake.set()

    @property
    def can_empty_queue(self) -> CanEmptyQueue:
        """How it is known that the driver is empty: counters disturb nobody, the helper needs no frame."""
        known = "probe" if self.writer is None else self.writer.can_empty_queue
        if known != "probe" or self._helper is None:
            return known
        return "helper" if self._helper.can_empty(self._clock.boottime_ns()) else known

    def _opened(self) -> Writer | None:
        """The opening of the bus that is up now."""
        return None if self.writer is self._failed or not self._port.is_up else self.writer

    def _facts(self, now_ns: int) -> BusFacts:
        """At this moment: a switch that was pulled meanwhile holds for the next burst."""
        self._look()
        writer, rates = self.writer, self._port.rates
        return BusFacts(
            rates.target,
            "none" if writer is None else writer.confirms,
            can_probe=writer is not None and self.can_empty_queue == "probe",
            asleep=self._watch.is_asleep(now_ns),
            disabled=bool(self.stopped),
            gate_closed=bool(self.switches.gate_closed(now_ns)),
            is_up=self._opened() is not None,
            bit_rate=rates.bit_rate,
            data_bit_rate=rates.data_bit_rate,
        )

    def _due_seconds(self, *, wrote_short: bool) -> float:
        due_ns = self.sink.due_in_ns(self._clock.boottime_ns())
        due = [_LOOK_SECONDS] if due_ns is None else [_LOOK_SECONDS, due_ns / 1e9]
        if self.sink.must_empty:
            due.append(_EMPTY_LOOK_SECONDS)
        # A queue that is full says nothing when it has room: short enough for a bus, no busy loop.
        return max(min(due), _WRITE_AGAIN_SECONDS if wrote_short else 0.0)
