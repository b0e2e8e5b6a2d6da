"""A replay into a stream server: one lane per channel, done when the server has acknowledged every frame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.control import (
    DongleInfo,
    Hello,
    LaneName,
)
from can_stream.protocol.identity import is_identifier
from can_stream.protocol.packets import GapReason
from can_stream.signals.table import SignalTable
from edge_agent.config.sections import dongle_id
from edge_agent.decoding.decoder import Decoder
from edge_agent.errors import ReplayError
from edge_agent.host.clock import Clock
from edge_agent.lanes.batching import Window
from edge_agent.replay.replay import Replay, Totals, by_channel
from edge_agent.uplink.connection import Answers
from edge_agent.uplink.hello import hello_of, new_start_id
from edge_agent.uplink.state import UplinkState
from edge_agent.uplink.uplink import Uplink

_WINDOW: Final = WindowLimits(4_000_000, trims=False)
# What a person who has just typed the address wants to know at once, rather than at the hundredth attempt.
_MISTAKES: Final = frozenset(
    {"name_not_resolved", "no_network", "not_a_stream_server", "redirected", "tls", "no_upgrade"}
)


class ServerTarget(Struct, frozen=True):
    """Where a replay streams to, and as whom; `token_file` as of an `Identity`."""

    url: str
    agent_id: str
    token: str
    ca_file: Path | None = None
    token_file: str = ""


class _Channel:
    """One channel of the logs as a dongle with its lanes."""

    def __init__(
        self, dongle: DongleInfo, start_id: str, resolution_ns: int, table: SignalTable | None
    ) -> None:
        self.dongle = dongle
        self.frames = self._lane("frames", start_id, resolution_ns)
        self.decoder: Decoder | None = None
        if table is not None:
            self.decoder = Decoder(self._lane("signals", start_id, resolution_ns))
            self.decoder.use(table, (), time.monotonic())

    @property
    def lanes(self) -> list[LaneSender]:
        return [self.frames] if self.decoder is None else [self.frames, self.decoder.lane]

    def has_room(self) -> bool:
        return not any(lane.is_full for lane in self.lanes)

    def take_frames(self, frames: FrameBatch) -> None:
        now_seconds = time.monotonic()
        self.frames.take_frames(frames, now_seconds)
        if self.decoder is not None:
            self.decoder.take_frames(frames, now_seconds)

    def _lane(self, name: LaneName, start_id: str, resolution_ns: int) -> LaneSender:
        lane = LaneSender(self.dongle.dongle_id, name, start_id, _WINDOW, resolution_ns)
        lane.take_loss(GapReason.START, None, time.monotonic())
        return lane


class ReplayUplink:
    """Feeds the windows of `replay` into lanes. `totals` is true at any time."""

    def __init__(
        self,
        replay: Replay,
        target: ServerTarget,
        start_id: str | None = None,
        on_state: Callable[[UplinkState], None] = lambda _: None,
        table: SignalTable | None = None,
        resolution_ns: int = 1000,
    ) -> None:
        self._replay = replay
        if start_id is not None:  # it may have been begun before
            replay.is_there = self._is_recorded
        self._agent_id = target.agent_id
        self._start_id = start_id or new_start_id()
        self._resolution_ns = resolution_ns
        self._clock = Clock()
        self._is_complete = False
        self._has_lanes = asyncio.Event()
        self._table = table
        self._channels: list[_Channel] = []
        self._lanes: list[LaneSender] = []
        self._uplink = Uplink(
            target.url,
            target.token,
            Answers(self._hello, self._packed_table, self._tell),
            self._lanes,
            clock=self._clock,
            ca_file=target.ca_file,
        )
        self._uplink.name_token_file(target.token_file, target.agent_id)
        self._uplink.hopeless_at_first = _MISTAKES
        self._on_state = on_state

    @property
    def totals(self) -> Totals:
        """Frames played, and how many of them the server has, as far as it has said."""
        lanes = [channel.frames for channel in self._channels]
        acknowledged = sum(lane.acknowledged_frames for lane in lanes)
        gone = min(acknowledged, sum(lane.difference.lost for lane in lanes))
        on_their_way = sum(lane.waiting_frames - lane.untried_frames for lane in lanes)
        return Totals(self._replay.frames, acknowledged - gone, on_their_way + gone)

    @property
    def knows_no_frame(self) -> bool:
        """Whether there is a table, and not one frame so far was of a message in it."""
        decoders = [channel.decoder for channel in self._channels if channel.decoder is not None]
        return any(one.counts.frames_unknown for one in decoders) and not any(
            one.counts.frames_known for one in decoders
        )

    @property
    def has_streamed(self) -> bool:
        """Whether the server has ever taken this replay on."""
        return self._uplink.counts.connections > 0

    @property
    def is_complete(self) -> bool:
        """Whether the logs are played to their end, and the server has every frame."""
        return self._is_complete and not self.lost_by_server

    @property
    def lost_by_server(self) -> int:
        """Frames and values that it has acknowledged and had no more when it was last asked."""
        return sum(lane.difference.lost for lane in self._lanes)

    async def run(self) -> None:
        """Until everything is acknowledged.

        UplinkError when the server refuses, or is none; LogError, ReplayError.
        """
        feeding = asyncio.create_task(self._feed())
        running = asyncio.create_task(self._stream())
        try:
            await asyncio.wait([running, feeding], return_when=asyncio.FIRST_COMPLETED)
            for task in (running, feeding):
                if task.done():
                    task.result()
        finally:
            for task in (running, feeding):
                task.cancel()
            await asyncio.gather(running, feeding, return_exceptions=True)

    async def _stream(self) -> None:
        """Connects once there is a dongle to greet with: a hello without them would say they are gone."""
        await self._has_lanes.wait()
        await self._uplink.run()

    async def _feed(self) -> None:
        async for window in self._replay.windows():
            await self._open_channels()
            for number, frames in by_channel(window):
                channel = self._channels[number]
                await self._uplink.until(channel.has_room)
                channel.take_frames(frames)
            await asyncio.sleep(0)
        await self._uplink.until(self._all_acknowledged)
        if self.lost_by_server:  # at its last greeting: a replay taken up again has sent it since
            await self._greet_again()
        self._is_complete = True

    async def _is_recorded(self, window: Window) -> bool:
        """Whether the server has said that it has all frames of the window."""
        await self._open_channels()
        return all(self._channels[number].frames.is_next_there for number, _ in by_channel(window))

    def _all_acknowledged(self) -> bool:
        return all(lane.is_empty for lane in self._lanes)

    async def _open_channels(self) -> None:
        """A lane for every channel of the logs so far; before a new greeting all that was sent must be in."""
        names = self._replay.source.channels
        if len(names) == len(self._channels):
            return
        await self._uplink.until(self._all_acknowledged)
        tables = [] if self._table is None else [self._table.hash.hex()]
        known = {channel.dongle.dongle_id for channel in self._channels}
        for name in names[len(self._channels) :]:
            dongle = DongleInfo(dongle_id(None, self._agent_id, name), "log", name, signal_tables=tables)
            if not is_identifier(dongle.dongle_id) or dongle.dongle_id in known:
                raise ReplayError(f"channel {name!r} gives no dongle id of its own; rename it with --map")
            known.add(dongle.dongle_id)
            channel = _Channel(dongle, self._start_id, self._resolution_ns, self._table)
            self._channels.append(channel)
            self._lanes.extend(channel.lanes)
        self._has_lanes.set()
        await self._greet_again()

    async def _greet_again(self) -> None:
        self._uplink.reconnect()
        await self._uplink.until(lambda: self._uplink.state.connected and self._all_acknowledged())

    def _hello(self) -> Hello:
        dongles = [channel.dongle for channel in self._channels]
        return hello_of(self._agent_id, self._start_id, dongles, self._clock)

    def _tell(self, state: UplinkState) -> None:
        if not self._uplink.is_hopeless:  # else it ends, and says so
            self._on_state(state)

    def _packed_table(self, _hash: str) -> bytes | None:
        return None if self._table is None else self._table.to_bytes()
