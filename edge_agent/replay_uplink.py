"""A replay into a stream server: one lane per channel, done when the server has acknowledged every frame."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.config import dongle_id
from edge_agent.errors import ReplayError
from edge_agent.identity import hello_of, new_start_id
from edge_agent.log_selection import Selection
from edge_agent.replay import Replay, Totals, by_channel
from edge_agent.uplink import Uplink, UplinkState
from wire_protocol.identity import StartId, is_identifier
from wire_protocol.lane_sender import LaneSender, WindowLimits
from wire_protocol.messages import DongleInfo, Hello
from wire_protocol.packets import GapReason

_WINDOW: Final = WindowLimits(4_000_000, trims=False)
_MAX_RESUME_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ServerTarget:
    """Where a replay streams to, and as whom."""

    url: str
    agent_id: str
    token: str
    ca_file: Path | None = None


class ReplayUplink:
    """Feeds the windows of `replay` into lanes. `totals` is true at any time."""

    def __init__(
        self,
        replay: Replay,
        target: ServerTarget,
        start_id: str | None = None,
        on_state: Callable[[UplinkState], None] = lambda _: None,
        resolution_ns: int = 1000,
    ) -> None:
        self._replay = replay
        self._agent_id = target.agent_id
        self._start_id = start_id or new_start_id()
        self._resolution_ns = resolution_ns
        self._clock = Clock()
        self._is_complete = False
        self._has_lanes = asyncio.Event()
        self._lanes: list[LaneSender] = []
        self._dongles: list[DongleInfo] = []
        self._uplink = Uplink(
            target.url,
            target.token,
            self._hello,
            self._lanes,
            clock=self._clock,
            ca_file=target.ca_file,
            on_state=on_state,
        )

    @property
    def totals(self) -> Totals:
        """Frames played, and how many of them the server has acknowledged."""
        return Totals(self._replay.frames, sum(lane.acknowledged_frames for lane in self._lanes))

    @property
    def is_complete(self) -> bool:
        """Whether the logs are played to their end and every frame is acknowledged."""
        return self._is_complete

    async def run(self) -> None:
        """Until everything is acknowledged. UplinkError when the server refuses; LogError, ReplayError."""
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
                lane = self._lanes[number]
                await self._uplink.until(partial(_has_room, lane))
                lane.take_frames(frames, time.monotonic())
            self._uplink.wake()
            await asyncio.sleep(0)
        await self._uplink.until(self._all_acknowledged)
        self._is_complete = True

    def _all_acknowledged(self) -> bool:
        return all(lane.is_empty for lane in self._lanes)

    async def _open_channels(self) -> None:
        """A lane for every channel of the logs so far; before a new greeting all that was sent must be in."""
        names = self._replay.source.channels
        if len(names) == len(self._lanes):
            return
        await self._uplink.until(self._all_acknowledged)
        for name in names[len(self._lanes) :]:
            dongle = DongleInfo(dongle_id(None, self._agent_id, name), "log", name)
            if not is_identifier(dongle.dongle_id) or dongle in self._dongles:
                raise ReplayError(f"channel {name!r} gives no dongle id of its own; rename it with --map")
            lane = LaneSender(dongle.dongle_id, "frames", self._start_id, _WINDOW, self._resolution_ns)
            lane.take_loss(GapReason.START, None, time.monotonic())
            self._dongles.append(dongle)
            self._lanes.append(lane)
        self._has_lanes.set()
        self._uplink.reconnect()
        await self._uplink.until(lambda: self._uplink.state.connected and self._all_acknowledged())

    def _hello(self) -> Hello:
        return hello_of(self._agent_id, self._start_id, self._dongles, self._clock)


def _has_room(lane: LaneSender) -> bool:
    return not lane.is_full


class _Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a resume file."""

    start_id: StartId
    replays: str


def resumed_start_id(path: Path, selection: Selection, agent_id: str, flush_seconds: float) -> str:
    """The start id of an interrupted replay of exactly this, or a new one, kept in `path`. ReplayError."""
    replays = _fingerprint(selection, agent_id, flush_seconds)
    try:
        content = path.read_bytes()[:_MAX_RESUME_BYTES]
    except FileNotFoundError:
        resume = _Resume(new_start_id(), replays)
        _write_durably(path, msgspec.json.encode(resume))
        return resume.start_id
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error.strerror}") from error
    try:
        resume = msgspec.json.decode(content, type=_Resume)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ReplayError(f"{path} is no resume file ({error}); name another") from error
    if resume.replays != replays:
        raise ReplayError(
            f"{path} belongs to another replay: the same logs, selection, agent id and flush time are needed"
        )
    return resume.start_id


def _fingerprint(selection: Selection, agent_id: str, flush_seconds: float) -> str:
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in selection.paths]
    parts = (
        files,
        selection.start,
        selection.end,
        list(selection.ids),
        sorted(selection.channels.items()),
        agent_id,
        flush_seconds,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError as error:
        raise ReplayError(f"{path} cannot be written: {error.strerror}") from error
