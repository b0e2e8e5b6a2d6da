"""How the frames of one dongle get from its reader into its lanes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.control import LaneName
from can_stream.protocol.marker import Marker
from can_stream.protocol.packets import GapReason
from edge_agent.budget.budget import Stage, rules_at
from edge_agent.bus.reader import SourceReader
from edge_agent.bus.source import Dropped, Item
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import keep_matching
from edge_agent.config.sections import SpoolSection, UplinkSection
from edge_agent.config.signal_rules import SignalRule
from edge_agent.host.clock import Clock
from edge_agent.lanes.batching import LiveBatcher
from edge_agent.lanes.clock_watch import LOOK_SECONDS, ClockWatch
from edge_agent.lanes.gate import LaneGate
from edge_agent.lanes.spool_writer import OpenBatch
from edge_agent.lanes.spooled_window import SpooledWindow, spooled_lane
from edge_agent.lanes.timing import patience_seconds, reading_seconds

if TYPE_CHECKING:
    from can_stream.signals.table import SignalTable
    from edge_agent.decoding.decoder import Decoder

STOP_LOOK_SECONDS: Final = 0.25
_HELD_LOOK_SECONDS: Final = 0.1
# A console shows what frames say from the frames themselves. Where there are any, values go less often: to
# begin to decode and to pack costs as much as a thousand values do.
_VALUES_SECONDS: Final = 0.2


class LaneSections(Struct, frozen=True):
    """What the lanes of one start of an agent share. A log can be played again: without `spool` it is kept
    in memory alone. `activations`: what the frames of each dongle are carried for from the beginning."""

    start_id: str
    uplink: UplinkSection
    spool: SpoolSection | None = None
    activations: Mapping[str, str] = {}


class Heard(Struct, frozen=True):
    """Whom a pipeline tells: of each arbitration id that no database knows once, and of all frames, which
    it is given back with all own ones marked."""

    unknown_id: Callable[[int, bool], object] = lambda *_: None
    frames: Callable[[FrameBatch], FrameBatch] = lambda frames: frames


class Pipeline:
    """`frames` is the frames lane; `decoder` has the signals lane, once there are databases.

    `left_out_frames` counts what `frames` and `frame_filters` of the section keep from being sent, and
    `uncounted_losses` how often some were lost without anybody knowing how many. A log waits while its lanes
    are full. While `is_marked` the frames lane carries every frame, whatever the section or a budget says.
    """

    def __init__(self, section: DongleSection, sections: LaneSections, clock: Clock, heard: Heard) -> None:
        self.decoder: Decoder | None = None
        self.left_out_frames = 0
        self.uncounted_losses = 0
        self._section = section
        self._sections = sections
        self._can_wait = section.interface == "log"
        self._clock = clock
        self._heard = heard
        self._clock_watch = ClockWatch(
            clock.boot_id(), clock.monotonic_ns(), clock.wall_offset_ns(), synchronised=clock.synchronised()
        )
        flush_seconds = sections.uplink.flush_seconds
        self._batcher = LiveBatcher(flush_seconds)
        values_seconds = _VALUES_SECONDS if section.frames == "all" else 0.0
        self._undecoded = LiveBatcher(max(flush_seconds, values_seconds))
        self._may_begin, self._freed = asyncio.Event(), asyncio.Event()
        self._stage = Stage.EVERYTHING
        self._rules: Sequence[SignalRule] = section.signals
        self._due_marker: Marker | None = None
        self.frames: Final = self._lane("frames")
        self._batcher.is_prompt = self.is_marked
        if isinstance(self.frames.window, SpooledWindow):
            self.frames.window.writer.open_batch = self._open_batch
        self._frames_gate = LaneGate(self.frames)

    @property
    def is_marked(self) -> bool:
        """Whether frames are carried for an activation."""
        return bool(self.frames.activation)

    @property
    def lanes(self) -> list[LaneSender]:
        """The frames lane, and the signals lane where there is one."""
        return [gate.lane for gate in self.gates]

    @property
    def gates(self) -> list[LaneGate]:
        """The ways into the lanes."""
        return [self._frames_gate] if self.decoder is None else [self._frames_gate, self.decoder.gate]

    @property
    def gathered_frames(self) -> int:
        """How many frames wait to become a packet."""
        return self._batcher.waiting_rows

    def add_decoder(self) -> LaneSender:
        """Prepares for databases; the new lane."""
        # Not at the top: an agent without databases has no memory for it.
        from edge_agent.decoding.decoder import Decoder  # noqa: PLC0415

        self.decoder = Decoder(self._lane("signals"), self._heard.unknown_id)
        return self.decoder.lane

    def decode_by(self, table: SignalTable | None, rules: Sequence[SignalRule]) -> None:
        """Decodes by these from now on; what is gathered still by those before."""
        self._rules = rules
        if self.decoder is not None:
            self._flush()
            self.decoder.use(table, rules_at(self._stage, rules), self._clock.monotonic_seconds())

    def begin(self) -> None:
        """Databases have come, or none will: a log, which loses nothing by waiting for them, may begin."""
        self._may_begin.set()

    def mark(self, activation: str) -> None:
        """What is read from here on is carried for that, "" for none; `feed` says so behind what was read."""
        self._due_marker = Marker(activation)

    def limit(self, stage: Stage) -> None:
        """Sends what the budget allows at this stage; call it again from time to time."""
        now_seconds = self._clock.monotonic_seconds()
        before, self._stage = self._stage, stage
        if stage is not before:
            self._flush()
        if self.decoder is not None and (stage < Stage.SLOW_SIGNALS) != (before < Stage.SLOW_SIGNALS):
            self.decoder.use(self.decoder.table, rules_at(stage, self._rules), now_seconds)
        limits = (not self.is_marked and self._stage >= Stage.NO_FRAMES, self._stage >= Stage.NO_SIGNALS)
        for gate, closed in zip(self.gates, limits, strict=False):
            gate.set_closed(now_seconds, closed=closed)

    def take_loss(self, loss: Dropped) -> None:
        """Frames that were lost before they came here: a gap in their place."""
        self._flush()
        self.uncounted_losses += loss.frames is None
        now_seconds, span_ns = self._clock.monotonic_seconds(), (loss.first_ns, loss.last_ns)
        self.frames.take_loss(GapReason.SOURCE, loss.frames, now_seconds, span_ns)
        if self.decoder is not None:  # how many values were in them cannot be known
            self.decoder.lane.take_loss(GapReason.SOURCE, None, now_seconds, span_ns)

    async def feed(self, reader: SourceReader, judged: Callable[[Item], Iterator[Item]]) -> None:
        """Moves what the reader gives, and what `judged` makes of it, into the lanes until it ends."""
        spool = self._sections.spool
        if self._can_wait:
            await self._may_begin.wait()
        beats = [self._sections.uplink.flush_seconds] + ([reading_seconds(spool)] if spool else [])
        reader.beats.longest_seconds, reader.beats.is_prompt = min(beats), self.is_marked
        clock = self._clock
        try:
            while (items := await reader.read_within(self._due_in())) != []:
                # Behind the reading: what was read before a look that finds nothing is of the same clock.
                self._clock_watch.look(clock.monotonic_ns(), clock.wall_offset_ns(), clock.synchronised)
                if items is not None:
                    self._take_items(chain.from_iterable(map(judged, items)), reader.born_ns)
                if self._due_marker is not None:
                    self._put_marker(self._due_marker)
                    reader.beats.is_prompt = self.is_marked
                if items is not None:
                    await self._until_room(reader)
                if self._clock_watch.is_due:
                    self._tell_clock()
                self._flush_due()
        finally:
            self._finish()

    async def _until_room(self, reader: SourceReader) -> None:
        """A log waits while a lane is full, a bus does not."""
        while self._can_wait and any(lane.is_full for lane in self.lanes) and not reader.is_stopping:
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_LOOK_SECONDS):
                    await self._freed.wait()

    def _due_in(self) -> float:
        now_seconds = self._clock.monotonic_seconds()
        held = _HELD_LOOK_SECONDS if self.decoder is not None and self.decoder.holds_back else None
        due = (self._batcher.due_in(now_seconds), self._undecoded.due_in(now_seconds), held, LOOK_SECONDS)
        return min(seconds for seconds in due if seconds is not None)

    def _put_marker(self, marker: Marker) -> None:
        """Behind what was gathered by the rules of before."""
        self._due_marker = None
        if marker.activation == self.frames.activation:
            return
        now_seconds = self._clock.monotonic_seconds()
        self._flush_frames(now_seconds)
        self._frames_gate.tell(now_seconds)
        self.frames.take_marker(marker, now_seconds)
        self._batcher.is_prompt = self.is_marked
        self.limit(self._stage)

    def _take_items(self, items: Iterable[Item], born_ns: int) -> None:
        arrived_seconds = self._clock.monotonic_seconds()
        for item in items:
            if isinstance(item, Dropped):
                self.take_loss(item)
                continue
            frames = self._heard.frames(item)
            before = self._clock_watch.split(frames.timestamp_ns)
            self._gather(frames[:before], arrived_seconds, born_ns)
            if before < len(frames):
                self._tell_clock()
                self._gather(frames[before:], arrived_seconds, born_ns)

    def _gather(self, frames: FrameBatch, arrived_seconds: float, born_ns: int) -> None:
        if self._section.frames == "all" or self.is_marked:
            self._batcher.add_frames(frames, arrived_seconds, born_ns)
        else:
            self.left_out_frames += len(frames)
        if self.decoder is not None:
            self._undecoded.add_frames(frames)

    def _tell_clock(self) -> None:
        """What was gathered is of the old clock; from here on the new one holds."""
        self._flush()
        now_seconds = self._clock.monotonic_seconds()
        if self.decoder is not None:
            self.decoder.finish(now_seconds)
        record = self._clock_watch.tell()
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

    def _finish(self) -> None:
        """The last frames too."""
        self._flush()
        if self._clock_watch.changes:
            self._tell_clock()
        now_seconds = self._clock.monotonic_seconds()
        if self.decoder is not None:
            self.decoder.finish(now_seconds)
        for gate in self.gates:
            gate.tell(now_seconds)

    def _flush_frames(self, now_seconds: float) -> None:
        since_seconds = self._batcher.since_seconds
        for batch in self._batcher.take_batches(now_seconds):
            kept = batch if self.is_marked else keep_matching(batch, self._section.frame_filters)
            self.left_out_frames += len(batch) - len(kept)
            if len(kept):
                since = now_seconds if since_seconds is None else since_seconds
                self._frames_gate.pass_on(kept, since, self._batcher.born_ns)

    def _flush_values(self, decoder: Decoder, now_seconds: float) -> None:
        for batch in self._undecoded.take_batches(now_seconds):
            decoder.take_frames(batch, now_seconds)

    def _open_batch(self) -> OpenBatch | None:
        since_seconds = self._batcher.since_seconds
        if since_seconds is None or self.frames.paused:
            return None
        batch = self._batcher.waiting
        kept = batch if self.is_marked else keep_matching(batch, self._section.frame_filters)
        return (kept, since_seconds, self._batcher.born_ns) if len(kept) else None

    def _lane(self, name: LaneName) -> LaneSender:
        uplink, spool = self._sections.uplink, None if self._can_wait else self._sections.spool
        limits = WindowLimits(uplink.window_bytes, trims=not self._can_wait)
        assert self._section.id is not None
        named = (self._section.id, name, self._sections.start_id, limits, uplink.timestamp_resolution_ns)
        lane = spooled_lane(*named, patience_seconds(spool)) if spool else LaneSender(*named)
        lane.on_freed = self._freed.set
        now_seconds = self._clock.monotonic_seconds()
        lane.take_loss(GapReason.START, None, now_seconds)
        activation = self._sections.activations.get(self._section.id, "")
        if activation and name == "frames":
            lane.take_marker(Marker(activation), now_seconds)
        if not self._clock_watch.record.synchronised:
            lane.take_clock(self._clock_watch.record, now_seconds)
        return lane
