"""One dongle of the running agent: its source, its lanes, and how frames get from the one into the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.sender import LaneSender, WindowLimits
from can_stream.protocol.control import MAX_TABLES, DongleInfo, LaneName
from can_stream.protocol.packets import GapReason
from edge_agent.bus.opening import open_source
from edge_agent.bus.reader import SourceReader
from edge_agent.bus.source import Dropped, Item, Source
from edge_agent.config.dongle import PLUGGABLE, DongleSection
from edge_agent.config.frame_filters import keep_matching
from edge_agent.config.sections import SpoolSection, UplinkSection
from edge_agent.dongles.whereabouts import Whereabouts
from edge_agent.errors import SourceError
from edge_agent.health.bus_monitor import BusMonitor
from edge_agent.host.clock import Clock
from edge_agent.host.inventory import Inventory
from edge_agent.lanes.batching import LiveBatcher
from edge_agent.lanes.clock_watch import LOOK_SECONDS, ClockWatch
from edge_agent.lanes.gate import LaneGate
from edge_agent.lanes.spooled_lane import OpenBatch, SpooledLane
from edge_agent.lanes.timing import patience_seconds, reading_seconds
from edge_agent.state import State
from edge_agent.uplink.budget import Stage, rules_at
from edge_agent.uplink.uplink import Uplink

if TYPE_CHECKING:
    from can_stream.databases.configured import ConfiguredDatabases
    from edge_agent.decoding.decoder import Decoder
    from edge_agent.host.can_link import CanLink

STOP_LOOK_SECONDS: Final = 0.25
_HELD_LOOK_SECONDS: Final = 0.1
# A console shows what frames say from the frames themselves. Where there are any, values go less often: to
# begin to decode and to pack costs as much as a thousand values do.
_VALUES_SECONDS: Final = 0.2


class DongleEvents(Struct, frozen=True):
    """Whom a dongle tells, by its id first: of each arbitration id that no database knows once, of all frames
    that are read, and of each change of its bus.
    """

    unknown_id: Callable[[str, int, bool], object] = lambda *_: None
    frames: Callable[[str, FrameBatch], object] = lambda *_: None
    state: Callable[[str, State], None] = lambda *_: None


NO_EVENTS: Final = DongleEvents()


class Dongle:
    """`frames` is its frames lane; `decoder` has its signals lane, once there are databases.

    `bus` is how its bus stands. `whereabouts` is which adapter of the inventory it is, None for what is
    plugged in nowhere. `left_out_frames` counts what `frames` and `frame_filters` keep from being sent, and
    `uncounted_losses` how often some were lost without anybody knowing how many. A log waits while its
    lanes are full, and can be played again: it needs no `spool`.
    """

    def __init__(
        self,
        section: DongleSection,
        uplink: UplinkSection,
        start_id: str,
        clock: Clock,
        events: DongleEvents = NO_EVENTS,
        inventory: Inventory | None = None,
        claimed: Collection[str] = (),
        spool: SpoolSection | None = None,
    ) -> None:
        assert section.id is not None
        self.dongle_id: Final = section.id
        self.section = section
        self.bus: Final = BusMonitor(section, clock, partial(events.state, section.id), lambda: self.channel)
        self.tables: dict[str, bytes] = {}
        self.databases: ConfiguredDatabases | None = None
        self.decoder: Decoder | None = None
        self.left_out_frames = 0
        self.uncounted_losses = 0
        self._can_wait = section.interface == "log"
        self._uplink = uplink
        self._spool = None if self._can_wait else spool
        self._start_id = start_id
        self._clock = clock
        self._events = events
        self._inventory = inventory
        self.whereabouts: Final = (
            None if inventory is None or section.interface not in PLUGGABLE else Whereabouts(section, claimed)
        )
        self._batcher = LiveBatcher(uplink.flush_seconds)
        shows_frames = section.frames == "all"
        values_seconds = max(uplink.flush_seconds, _VALUES_SECONDS if shows_frames else 0.0)
        self._undecoded = LiveBatcher(values_seconds)
        self._has_databases = asyncio.Event()
        self._link_ns: int | None = None
        self._watch = ClockWatch(
            clock.boot_id(), clock.monotonic_ns(), clock.wall_offset_ns(), synchronised=clock.synchronised()
        )
        self._answered: set[str] = set()
        self.frames: Final = self._lane("frames")
        if isinstance(self.frames, SpooledLane):
            self.frames.open_batch = self._open_batch
        self._stage = Stage.EVERYTHING
        self._frames_gate = LaneGate(self.frames)

    @property
    def channel(self) -> str:
        """What its interface or port is called now; its `device_id` while it is not there."""
        return self.section.place if self.whereabouts is None else self.whereabouts.channel

    @property
    def info(self) -> DongleInfo:
        """The dongle as the server is told of it."""
        info = msgspec.structs.replace(self.section.info(), signal_tables=list(self.tables))
        at = self.whereabouts
        return (
            info if at is None else msgspec.structs.replace(info, channel=at.channel, device_id=at.device_id)
        )

    @property
    def gathered_frames(self) -> int:
        """How many frames wait to become a packet."""
        return self._batcher.waiting_rows

    @property
    def lanes(self) -> list[LaneSender]:
        """Its lanes."""
        return [self.frames] if self.decoder is None else [self.frames, self.decoder.lane]

    def open_source(self) -> Source:
        """Opens the bus or log; called in the reading thread. Raises SourceError."""
        at, section = self.whereabouts, self.section
        if self._inventory is None or at is None:
            return open_source(section, self._clock, self._answered)
        channel = at.locate(self._inventory.adapters())
        located = msgspec.structs.replace(section, channel=channel, device_id=None)
        source = open_source(located, self._clock, self._answered)
        at.opened(self._inventory.adapters())
        return source

    def remark(self) -> str:
        """What is to be said of its source while it is read."""
        return "" if self.whereabouts is None else self.whereabouts.remark

    def add_decoder(self) -> LaneSender:
        """Prepares for databases; the new lane."""
        # Not at the top: an agent without databases has no memory for it.
        from edge_agent.decoding.decoder import Decoder  # noqa: PLC0415

        self.decoder = Decoder(self._lane("signals"), self._unknown)
        return self.decoder.lane

    def use(self, databases: ConfiguredDatabases | None) -> None:
        """Decodes by these from now on, by the section's rules; None where it has none."""
        self._has_databases.set()
        self.databases = databases
        if self.decoder is None or databases is None:
            return
        self._flush()
        rules = rules_at(self._stage, self.section.signals)
        self.decoder.use(databases.table, rules, self._clock.monotonic_seconds())
        if databases.table is not None:
            current = databases.table.hash.hex()
            earlier = {name: table for name, table in self.tables.items() if name != current}
            kept = list(earlier.items())[: MAX_TABLES - 1]
            self.tables = {current: databases.table.to_bytes(), **dict(kept)}

    @property
    def gates(self) -> list[LaneGate]:
        """The ways into its lanes."""
        return [self._frames_gate] if self.decoder is None else [self._frames_gate, self.decoder.gate]

    def limit(self, stage: Stage) -> None:
        """Sends what the budget allows at this stage; call it again from time to time."""
        now_seconds = self._clock.monotonic_seconds()
        before, self._stage = self._stage, stage
        if stage is not before:
            self._flush()
        if self.decoder is not None and (stage < Stage.SLOW_SIGNALS) != (before < Stage.SLOW_SIGNALS):
            self.decoder.use(self.decoder.table, rules_at(stage, self.section.signals), now_seconds)
        for gate, closed_from in zip(self.gates, (Stage.NO_FRAMES, Stage.NO_SIGNALS), strict=False):
            gate.set_closed(now_seconds, closed=stage >= closed_from)

    def stop_waiting(self) -> None:
        """The agent stops: no databases will come."""
        self._has_databases.set()

    def take_link(self, link: CanLink | None, reader: SourceReader) -> SourceError | None:
        """What the kernel says of its interface; why the bus must be opened again, None where it need not."""
        if self.bus.health is None:
            return None
        counts = reader.counts
        frames_seen = counts.read + counts.lost["kernel"] + counts.lost["driver"] + reader.malformed
        now_seconds, now_ns = self._clock.monotonic_seconds(), self._clock.wall_ns()
        overruns, failure = self.bus.health.take_link(link, frames_seen, now_seconds)
        if overruns:
            self._take_loss(Dropped(None, min(self._link_ns or now_ns, now_ns), now_ns))
        self._link_ns = now_ns
        return failure

    async def feed(self, reader: SourceReader, uplink: Uplink) -> None:
        """Moves what the reader gives into the lanes until it ends; the last frames too."""
        if self._can_wait:  # a log loses nothing by waiting until it can be decoded
            await self._has_databases.wait()
        beats = [self._uplink.flush_seconds] + ([reading_seconds(self._spool)] if self._spool else [])
        reader.longest_beat_seconds = min(beats)
        try:
            while (items := await reader.read_within(self._due_in())) != []:
                # Behind the reading: what was read before a look that finds nothing is of the same clock.
                self._watch.look(
                    self._clock.monotonic_ns(), self._clock.wall_offset_ns(), self._clock.synchronised
                )
                if items is not None:
                    self._take(items)
                    await self._until_room(reader, uplink)
                if self._watch.is_due:
                    self._tell_clock()
                self._flush_due()
                if any(lane.has_unsent for lane in self.lanes):
                    uplink.wake()
        finally:
            self._flush()
            if self._watch.changes:
                self._tell_clock()
            if self.decoder is not None:
                self.decoder.finish(self._clock.monotonic_seconds())
            for gate in self.gates:
                gate.tell(self._clock.monotonic_seconds())
            uplink.wake()

    async def _until_room(self, reader: SourceReader, uplink: Uplink) -> None:
        """A log waits while a lane is full, a bus does not."""
        while self._can_wait and any(lane.is_full for lane in self.lanes) and not reader.is_stopping:
            uplink.progress.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(uplink.progress.wait(), STOP_LOOK_SECONDS)

    def _due_in(self) -> float:
        now_seconds = self._clock.monotonic_seconds()
        held = _HELD_LOOK_SECONDS if self.decoder is not None and self.decoder.holds_back else None
        due = (self._batcher.due_in(now_seconds), self._undecoded.due_in(now_seconds), held, LOOK_SECONDS)
        return min(seconds for seconds in due if seconds is not None)

    def _take(self, items: list[Item]) -> None:
        arrived_seconds = self._clock.monotonic_seconds()
        for item in chain.from_iterable(map(self.bus.take, items)):
            if isinstance(item, Dropped):
                self._take_loss(item)
                continue
            self._events.frames(self.dongle_id, item)
            before = self._watch.split(item.timestamp_ns)
            self._add(item[:before], arrived_seconds)
            if before < len(item):
                self._tell_clock()
                self._add(item[before:], arrived_seconds)

    def _take_loss(self, loss: Dropped) -> None:
        self._flush()
        self.uncounted_losses += loss.frames is None
        now_seconds, span_ns = self._clock.monotonic_seconds(), (loss.first_ns, loss.last_ns)
        self.frames.take_loss(GapReason.SOURCE, loss.frames, now_seconds, span_ns)
        if self.decoder is not None:  # how many values were in them cannot be known
            self.decoder.lane.take_loss(GapReason.SOURCE, None, now_seconds, span_ns)

    def _add(self, frames: FrameBatch, arrived_seconds: float) -> None:
        if self.section.frames == "all":
            self._batcher.add(frames, arrived_seconds)
        else:
            self.left_out_frames += len(frames)
        if self.decoder is not None:
            self._undecoded.add(frames)

    def _tell_clock(self) -> None:
        """What was gathered is of the old clock; from here on the new one holds."""
        self._flush()
        now_seconds = self._clock.monotonic_seconds()
        if self.decoder is not None:
            self.decoder.finish(now_seconds)
        record = self._watch.tell()
        for gate in self.gates:
            gate.tell(now_seconds)
            gate.lane.take_clock(record, now_seconds)

    def _flush_due(self) -> None:
        now_seconds = self._clock.monotonic_seconds()
        if self._batcher.due_in(now_seconds) == 0:
            self._flush_frames(now_seconds)
        if self.decoder is None:
            return
        due = self._undecoded.due_in(now_seconds)
        if due == 0:
            self._flush_values(self.decoder, now_seconds)
        elif due is None and self.decoder.holds_back:
            self.decoder.expire(now_seconds)

    def _flush(self) -> None:
        now_seconds = self._clock.monotonic_seconds()
        self._flush_frames(now_seconds)
        if self.decoder is not None:
            self._flush_values(self.decoder, now_seconds)

    def _flush_frames(self, now_seconds: float) -> None:
        since_seconds = self._batcher.since_seconds
        for batch in self._batcher.take(now_seconds):
            kept = keep_matching(batch, self.section.frame_filters)
            self.left_out_frames += len(batch) - len(kept)
            if len(kept):
                self._frames_gate.take(kept, now_seconds if since_seconds is None else since_seconds)

    def _open_batch(self) -> OpenBatch | None:
        since_seconds = self._batcher.since_seconds
        if since_seconds is None or self.frames.paused:
            return None
        kept = keep_matching(self._batcher.waiting, self.section.frame_filters)
        return (kept, since_seconds) if len(kept) else None

    def _flush_values(self, decoder: Decoder, now_seconds: float) -> None:
        for batch in self._undecoded.take(now_seconds):
            decoder.take(batch, now_seconds)

    def _lane(self, name: LaneName) -> LaneSender:
        limits = WindowLimits(self._uplink.window_bytes, trims=not self._can_wait)
        resolution_ns = self._uplink.timestamp_resolution_ns
        named = (self.dongle_id, name, self._start_id, limits, resolution_ns)
        lane = SpooledLane(*named, patience_seconds(self._spool)) if self._spool else LaneSender(*named)
        now_seconds = self._clock.monotonic_seconds()
        lane.take_loss(GapReason.START, None, now_seconds)
        if not self._watch.record.synchronised:
            lane.take_clock(self._watch.record, now_seconds)
        return lane

    def _unknown(self, arbitration_id: int, is_extended: bool) -> None:
        self._events.unknown_id(self.dongle_id, arbitration_id, is_extended)
