"""One data connection from its first byte to its last: packets in, recording and console fed, acks out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.lanes.receiver import LaneConnection
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import PROTOCOL_VERSION, ROWS_OF_LANE
from can_stream.protocol.errors import SessionError
from can_stream.protocol.hop import Ack, Envelope, HopDecoder, RangeKind, encode_ack, encode_ping
from can_stream.protocol.lanes_control import (
    LaneHello,
    LanesHello,
    LanesWelcome,
)
from can_stream.protocol.packet_head import MAX_PACKET_BYTES, PacketKind
from can_stream.protocol.packets import (
    Packet,
    decode_packet,
)
from can_stream.text.frame_json import FrameOrigin
from can_stream.text.timestamps import format_timestamp
from stream_server import clock
from stream_server.agents.pings import PING_SECONDS, Pings
from stream_server.errors import ApiError
from stream_server.fleet.fleet import Dongle, Fleet
from stream_server.metrics import Metrics
from stream_server.recording.recorder import Lane, Recorder
from stream_server.relay.relay import Relay
from stream_server.signals.last_value_store import LastValueStore
from stream_server.streams.dongle_feed import DongleFeed
from stream_server.streams.hub import StreamHub

_PROGRESS_SECONDS: Final = 5.0
_KINDS_OF_LANE: Final = {
    "frames": {PacketKind.FRAMES, PacketKind.GAP, PacketKind.CLOCK, PacketKind.MARKER},
    "signals": {PacketKind.SIGNALS, PacketKind.GAP, PacketKind.CLOCK},
}

SendBytes = Callable[[bytes], Awaitable[None]]


class Backlog:
    """What a lane said it still holds, and how the console is told that it comes in."""

    def __init__(self, hello: LaneHello, frames: int) -> None:
        self.waiting_frames = frames
        self.received_frames = 0
        self.rows: Final = ROWS_OF_LANE[hello.lane]
        self.oldest_age_seconds = max((r.age_seconds or 0.0 for r in hello.backlog), default=0.0)
        self._told_at_seconds = float("-inf")

    def received(self, frames: int, now_seconds: float) -> str | None:
        """A backlog packet is in: what to say about it, at most every five seconds and at the end."""
        if not self.waiting_frames:
            return None
        self.received_frames += frames
        self.waiting_frames = max(0, self.waiting_frames - frames)
        if self.waiting_frames and now_seconds - self._told_at_seconds < _PROGRESS_SECONDS:
            return None
        self._told_at_seconds = now_seconds
        if not self.waiting_frames:
            return f"backlog complete: {self.received_frames} {self.rows} are in the recording"
        return f"backlog: {self.received_frames} {self.rows} received, {self.waiting_frames} to come"


class OpenLane:
    """One lane of this connection."""

    def __init__(
        self, lane: Lane, session: LaneConnection, dongle: Dongle, feed: DongleFeed, backlog: Backlog
    ) -> None:
        self.lane = lane
        self.session = session
        self.dongle = dongle
        self.feed = feed
        self.origin = FrameOrigin(dongle.dongle_id, dongle.bus)
        self.backlog = backlog
        self._clock_seq, self.clock_synchronised = lane.clock

    def note_clock(self, packet: Packet) -> bool:
        """A clock record is in: whether it says what holds now. An older one may come after it."""
        number = packet.number
        if (
            not isinstance(packet.body, ClockRecord)
            or number.start_id != self.session.start_id
            or number.seq < self._clock_seq
        ):
            return False
        self._clock_seq, self.clock_synchronised = number.seq, packet.body.synchronised
        return True


class DataConnection:
    """A data connection after its upgrade. `receive` takes packets in order; `send_acks` runs beside."""

    def __init__(
        self,
        agent_id: str,
        fleet: Fleet,
        hub: StreamHub,
        recorder: Recorder,
        last_values: LastValueStore,
        metrics: Metrics,
        relay: Relay,
    ) -> None:
        self._relay = relay
        self._began_ns = clock.boottime_ns()
        self._pings = Pings()
        self._sends_ages = False
        self.agent_id = agent_id
        self._fleet = fleet
        self._hub = hub
        self._recorder = recorder
        self._last_values = last_values
        self._metrics = metrics
        self._decoder = HopDecoder()
        self._lanes: list[OpenLane] = []
        self._ack_due = asyncio.Event()

    async def open(self, hello: LanesHello, version: int = PROTOCOL_VERSION) -> LanesWelcome:
        """The lanes this connection carries; what is said to the agent is what its version has.

        SessionError, StorageError, ApiError for an unknown dongle.
        """
        names = [(lane.dongle_id, lane.lane) for lane in hello.lanes]
        if len(set(names)) != len(names):
            raise SessionError("a lane is listed twice")
        self._decoder = HopDecoder(version)
        taken_through, books = [], []
        for lane_hello in hello.lanes:
            dongle = self._fleet.dongle(lane_hello.dongle_id)
            if dongle.agent_id != self.agent_id:
                raise ApiError(403, "DONGLE_CONFLICT", f"{dongle.dongle_id} belongs to another agent")
            lane, session, opening = await self._recorder.open_lane(
                dongle.dongle_id,
                lane_hello,
                hello.start_id,
                self._ack_due.set,
                self._fleet.right_clock(self.agent_id),
            )
            if opening.went_back:
                found = [(one.start_id, one.told_acknowledged, one.frames) for one in opening.went_back]
                await self._fleet.server_went_back(dongle.dongle_id, lane_hello.lane, found)
            if lane_hello.lane == "frames":
                self._relay.heard(dongle.dongle_id, lane_hello, hello.start_id, opening, self._began_ns)
            feed = self._hub.feed(dongle.dongle_id)
            opened = OpenLane(lane, session, dongle, feed, Backlog(lane_hello, opening.listed_frames))
            self._lanes.append(opened)
            taken_through.append(opening.starts[hello.start_id].through)
            books.append(opening.books(lane_hello, hello.start_id))
            _show_clock(opened)
            self._announce_backlog(opened)
        self._sends_ages |= hello.ages and version > 1
        self._pings.welcomed_ns = clock.boottime_ns()
        return LanesWelcome(
            taken_through, MAX_PACKET_BYTES, books if version > 1 else [], ages=self._sends_ages
        )

    async def receive(self, data: bytes) -> None:
        """One packet in its envelope. PacketError, SessionError."""
        await self._recorder.room()
        envelope = self._decoder.decode(data)
        if envelope.lane_index >= len(self._lanes):
            raise SessionError(f"lane {envelope.lane_index} was not opened")
        opened = self._lanes[envelope.lane_index]
        packet = decode_packet(envelope.packet)
        _check_lane(opened, packet)
        self._count(packet)
        if not opened.session.received(envelope.range_kind, packet):
            self._metrics.packets_duplicate.inc()
            self._recorder.wake(opened.lane)
            return
        if opened.session.lane == "frames" and self._relay.follows(opened.dongle.dongle_id):
            self._relay_on(opened, packet, envelope)
        self._recorder.add_packet(opened.lane, packet, envelope.packet, envelope.range_kind)
        self._show(opened, packet, envelope)

    def _relay_on(self, opened: OpenLane, packet: Packet, envelope: Envelope) -> None:
        now_ns, dongle_id = clock.boottime_ns(), opened.dongle.dongle_id
        born_ns = self._pings.born_ns(envelope.age, now_ns)
        live = envelope.range_kind is RangeKind.LIVE
        age_us = None if envelope.age is None else envelope.age.age_us
        is_relayed = live and isinstance(packet.body, FrameBatch) and self._relay.is_source(dongle_id)
        if is_relayed and born_ns is not None and age_us is not None:
            source_ns = age_us * 1000
            self._metrics.relay.came(source_ns, now_ns - born_ns - source_ns)
        self._relay.arrived(dongle_id, packet, envelope.packet, born_ns, now_ns, live=live)

    async def send_pings(self, send: SendBytes) -> None:
        """While anything of it is relayed, and its agent answers by ages, until cancelled."""
        with self._relay.bell() as bell:
            while True:
                bell.clear()
                is_source = any(self._relay.is_source(one.dongle.dongle_id) for one in self._lanes)
                if self._sends_ages and is_source:
                    await send(encode_ping(self._pings.next(clock.boottime_ns())))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PING_SECONDS if is_source else None):
                        await bell.wait()

    def _count(self, packet: Packet) -> None:
        self._metrics.packets_received.inc()
        if isinstance(packet.body, FrameBatch):
            self._metrics.frames_received.inc(len(packet.body))
        elif isinstance(packet.body, SignalBatch):
            self._metrics.values_received.inc(len(packet.body))

    async def send_acks(self, send: SendBytes) -> None:
        """Send what the recorder has committed, until cancelled."""
        while True:
            await self._ack_due.wait()
            self._ack_due.clear()
            for index, opened in enumerate(self._lanes):
                for kind, number in opened.session.acks():
                    await send(encode_ack(Ack(index, kind, number)))

    def _show(self, opened: OpenLane, packet: Packet, envelope: Envelope) -> None:
        dongle_id, body, is_live = opened.dongle.dongle_id, packet.body, envelope.range_kind is RangeKind.LIVE
        shown = is_live
        if isinstance(body, SignalBatch):
            self._last_values.take_values(dongle_id, body, is_backlog=not is_live)
            shown = is_live and not self._fleet.dongle(dongle_id).sends_frames
        if isinstance(body, ClockRecord):
            if opened.note_clock(packet):
                _show_clock(opened)
        elif shown and isinstance(body, FrameBatch | SignalBatch):  # gaps are told once they have their id
            opened.feed.offer_packet(body, envelope.packet, opened.origin, clock.now())
        if not is_live:
            text = opened.backlog.received(packet.frames or 0, clock.monotonic_seconds())
            if text is not None:
                self._log(opened, text)

    def _announce_backlog(self, opened: OpenLane) -> None:
        backlog = opened.backlog
        if not backlog.waiting_frames:
            return
        now = clock.now()
        payload = {
            "gap_id": None,
            "dongle_id": opened.dongle.dongle_id,
            "lane": opened.session.lane,
            "from": format_timestamp(now.wall_us - int(backlog.oldest_age_seconds * 1e6)),
            "to": format_timestamp(now.wall_us),
            "frames": backlog.waiting_frames,
            "where": "backlog",
        }
        self._fleet.events.emit(self.agent_id, [opened.dongle.dongle_id], "gap", payload, now)
        self._log(
            opened, f"backlog of {backlog.waiting_frames} {backlog.rows} is on its way to the recording"
        )

    def _log(self, opened: OpenLane, text: str) -> None:
        details = {
            "lane": opened.session.lane,
            "received_frames": opened.backlog.received_frames,
            "waiting_frames": opened.backlog.waiting_frames,
        }
        payload = {"level": "info", "source": "ingest", "message": text, "details": details}
        self._fleet.log(self.agent_id, payload, dongle_id=opened.dongle.dongle_id)


def _show_clock(opened: OpenLane) -> None:
    opened.feed.set_clock(clock.now(), synchronised=opened.clock_synchronised)


def _check_lane(opened: OpenLane, packet: Packet) -> None:
    if packet.kind not in _KINDS_OF_LANE[opened.session.lane]:
        raise SessionError(f"a packet of {packet.kind.name.lower()} in the {opened.session.lane} lane")
