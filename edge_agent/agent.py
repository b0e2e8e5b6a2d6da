"""The running agent: every configured dongle read into its lane, all lanes over one uplink."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock
from edge_agent.config import AgentConfig, DongleSection
from edge_agent.credentials import read_agent_token
from edge_agent.errors import UplinkError
from edge_agent.feeding import LiveBatcher
from edge_agent.frame_filters import keep_matching
from edge_agent.identity import hello_of, new_start_id
from edge_agent.services import agent_service, bus_service
from edge_agent.sources.base import Dropped, Item, Source, SourceCode, SourceState
from edge_agent.sources.opening import open_source
from edge_agent.sources.reader import SourceReader
from edge_agent.uplink import Uplink, UplinkState
from wire_protocol.lane_sender import LaneSender, WindowLimits
from wire_protocol.messages import DongleInfo, Log, Status
from wire_protocol.packets import GapReason

STOP_SECONDS: Final = 5.0
REPORT_SECONDS: Final = 30.0
STOP_LOOK_SECONDS: Final = 0.25
_logger: Final = logging.getLogger(__name__)


class Dongle:
    """One dongle: its source, what waits for the next packet, its frames lane."""

    def __init__(
        self, section: DongleSection, info: DongleInfo, config: AgentConfig, start_id: str, clock: Clock
    ) -> None:
        self.info = info
        self.section = section
        self._can_wait = section.interface == "log"
        limits = WindowLimits(config.uplink.window_bytes, trims=not self._can_wait)
        resolution_ns = config.uplink.timestamp_resolution_ns
        self.lane = LaneSender(info.dongle_id, "frames", start_id, limits, resolution_ns)
        self._batcher = LiveBatcher(config.uplink.flush_seconds)
        self._clock = clock
        self.lane.take_loss(GapReason.START, None, clock.monotonic_seconds())

    def open_source(self) -> Source:
        """Opens the bus or log; called in the reading thread. Raises SourceError."""
        return open_source(self.section, self._clock)

    async def feed(self, reader: SourceReader, uplink: Uplink) -> None:
        """Moves what the reader gives into the lane until it ends; the last frames too."""
        reading = asyncio.ensure_future(reader.read())
        try:
            while True:
                wait = self._batcher.due_in(self._clock.monotonic_seconds())
                await asyncio.wait([reading], timeout=wait)
                if reading.done():
                    items = reading.result()
                    if not items:
                        return
                    self._take(items)
                    await self._until_room(reader, uplink)
                    reading = asyncio.ensure_future(reader.read())
                if self._batcher.due_in(self._clock.monotonic_seconds()) == 0:
                    self._flush(uplink.wake)
        finally:
            reading.cancel()
            self._flush(uplink.wake)

    async def _until_room(self, reader: SourceReader, uplink: Uplink) -> None:
        """A log waits while the lane is full, a bus does not."""
        while self._can_wait and self.lane.is_full and not reader.is_stopping:
            uplink.progress.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(uplink.progress.wait(), STOP_LOOK_SECONDS)

    def _take(self, items: list[Item]) -> None:
        for item in items:
            if not isinstance(item, Dropped):
                if self.section.frames == "all":
                    self._batcher.add(keep_matching(item, self.section.frame_filters))
                continue
            self._flush(lambda: None)
            now_seconds = self._clock.monotonic_seconds()
            self.lane.take_loss(GapReason.SOURCE, item.frames, now_seconds, (item.first_ns, item.last_ns))

    def _flush(self, wake: Callable[[], None]) -> None:
        now_seconds = self._clock.monotonic_seconds()
        for batch in self._batcher.take(now_seconds):
            self.lane.take_frames(batch, now_seconds)
        wake()


class Agent:
    """Reads, streams and reports until told to stop."""

    def __init__(self, config: AgentConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._start_id = new_start_id()
        self._started_at_seconds = self._clock.monotonic_seconds()
        self._dongles = [
            Dongle(section, info, config, self._start_id, self._clock)
            for section, info in zip(config.dongles, config.dongle_infos(), strict=True)
        ]
        server = config.server
        self._uplink = Uplink(
            server.url,
            read_agent_token(server.token_file),
            lambda: hello_of(
                config.agent_id, self._start_id, [dongle.info for dongle in self._dongles], self._clock
            ),
            [dongle.lane for dongle in self._dongles],
            clock=self._clock,
            ca_file=None if server.ca_file is None else Path(server.ca_file),
            on_state=self._uplink_changed,
        )
        self._readers = [self._reader(dongle) for dongle in self._dongles]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, or all logs are played and acknowledged. A part that fails ends it all."""
        async with asyncio.TaskGroup() as group:
            uplink = group.create_task(self._uplink.run(), name="uplink")
            reporting = group.create_task(self._report_regularly())
            for reader in self._readers:
                reader.start()
            feeds = [
                group.create_task(dongle.feed(reader, self._uplink), name=f"feed {dongle.info.dongle_id}")
                for dongle, reader in zip(self._dongles, self._readers, strict=True)
            ]
            stopped = group.create_task(stop.wait())
            ended = group.create_task(self._played(feeds))
            await asyncio.wait([stopped, ended], return_when=asyncio.FIRST_COMPLETED)
            for reader in self._readers:
                await reader.stop()
            await asyncio.wait(feeds)
            await self._drain()
            for task in (uplink, reporting, stopped, ended):
                task.cancel()

    async def _report_regularly(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._report()

    async def _played(self, feeds: list[asyncio.Task[None]]) -> None:
        await asyncio.wait(feeds)
        await self._acknowledged()

    async def _acknowledged(self) -> None:
        while True:
            with contextlib.suppress(UplinkError):  # refused: the uplink tries again, slowly
                await self._uplink.until(lambda: all(dongle.lane.is_empty for dongle in self._dongles))
                return
            await asyncio.sleep(REPORT_SECONDS)

    async def _drain(self) -> None:
        """A clean stop loses nothing that the server takes in time; what it does not is said."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._acknowledged()
        except TimeoutError:
            frames = sum(dongle.lane.held_frames for dongle in self._dongles)
            if frames:
                _logger.error("%d frames were not acknowledged by the server and are lost", frames)

    def _reader(self, dongle: Dongle) -> SourceReader:
        dongle_id = dongle.info.dongle_id
        return SourceReader(
            dongle_id, dongle.open_source, partial(self._source_changed, dongle_id), clock=self._clock
        )

    def _source_changed(self, dongle_id: str, state: SourceState) -> None:
        failed = state.code is SourceCode.FAILED
        _logger.log(logging.WARNING if failed else logging.INFO, "%s: %s", dongle_id, state.message)
        if failed:
            self._uplink.say(Log(self._clock.wall_ns(), "warning", "bus", state.message, dongle_id))
        self._report()

    def _uplink_changed(self, state: UplinkState) -> None:
        _logger.log(logging.INFO if state.connected else logging.WARNING, "uplink: %s", state.message)
        if state.connected:
            self._report()

    def _report(self) -> None:
        """Tell the server how every service stands; only while somebody hears it, the rest is repeated."""
        if not self._uplink.state.connected:
            return
        agent_id, now_ns = self._config.agent_id, self._clock.wall_ns()
        uptime_seconds = self._clock.monotonic_seconds() - self._started_at_seconds
        services = [agent_service(agent_id, uptime_seconds, now_ns)]
        for dongle, reader in zip(self._dongles, self._readers, strict=True):
            services.append(bus_service(agent_id, dongle.info, reader, dongle.lane, now_ns))
        self._uplink.say(Status(services))
