"""An agent's two connections, in this process, step by step: the test says what it lists, gives and sends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import aiohttp

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import (
    LANES,
    encode_control_message,
    table_parts,
)
from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind, decode_ack
from can_stream.protocol.lanes_control import (
    LanesHello,
    LanesWelcome,
    decode_data_down,
    encode_lanes,
)
from can_stream.protocol.packets import GapReason
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from tests.helpers.api_server import Api, Server

_SECONDS: Final = 10.0


def dongle_listing(dongle_id: str, tables: Sequence[SignalTable], frames: str = "all") -> dict[str, Any]:
    """A dongle as hello and devices_report list it."""
    hashes = [table.hash.hex() for table in tables]
    return {
        "dongle_id": dongle_id,
        "interface": "socketcan",
        "channel": "can0",
        "frames": frames,
        "signal_tables": hashes,
    }


def values_of(table: SignalTable, frames: FrameBatch) -> SignalBatch:
    """Every value that these frames hold, as an agent sends them."""
    return decode(table, frames).signal_batch(frames)


class SignalAgent:
    """One agent with one dongle; both lanes keep what is not acknowledged, over connections too."""

    def __init__(self, api: Api, agent_id: str = "van7", start_id: str = "00000000000000a1") -> None:
        self.api = api
        self.agent_id = agent_id
        self.dongle_id = f"{agent_id}-can0"
        self.lanes: Final = [LaneSender(self.dongle_id, lane, start_id, WindowLimits()) for lane in LANES]
        self._start_id = start_id
        for lane in self.lanes:
            lane.take_loss(GapReason.START, None, 0.0)

    async def hello(self, tables: Sequence[SignalTable], frames: str = "all", **changes: Any) -> list[str]:
        """Opens the control connection; which tables the server asks for."""
        dongles = [dongle_listing(self.dongle_id, tables, frames)]
        self.control = await self.api.hello(
            agent_id=self.agent_id, start_id=self._start_id, dongles=dongles, **changes
        )
        return await self.wanted()

    async def report(self, tables: Sequence[SignalTable], frames: str = "all") -> list[str]:
        """Says that the dongle's tables or lanes have changed; which tables the server asks for."""
        dongles = [dongle_listing(self.dongle_id, tables, frames)]
        await self.control.send_json({"type": "devices_report", "dongles": dongles})
        return await self.wanted()

    async def wanted(self) -> list[str]:
        """What the server has asked for by the time it answers the next message."""
        await self.control.send_json({"type": "command_status", "command_id": "1", "status": "done"})
        hashes: list[str] = []
        while (answer := await self.control.receive_json(timeout=_SECONDS))["type"] == "tables_wanted":
            hashes += answer["hashes"]
        assert answer.get("code") == "NOT_SUPPORTED", answer
        return hashes

    async def give(self, table: SignalTable) -> None:
        """Sends a table; it is in place when this returns."""
        for part in table_parts(table.hash.hex(), table.to_bytes()):
            await self.control.send_str(encode_control_message(part))
        assert await self.wanted() == []

    async def open_data(self) -> None:
        """Opens the data connection: what is not acknowledged is its backlog."""
        url = f"{self.api.server.url}/ws/data"
        self._data = await self.api.session.ws_connect(url, headers=self.api.headers)
        self._encoder = HopEncoder()
        hello = LanesHello(self._start_id, [lane.connect(0.0) for lane in self.lanes])
        await self._data.send_str(encode_lanes(hello, 1))
        welcome = decode_data_down(await self._data.receive_str(timeout=_SECONDS))
        assert isinstance(welcome, LanesWelcome)
        for lane, taken in zip(self.lanes, welcome.taken_through, strict=True):
            lane.accepted(taken)
        await self.settle()

    async def send(self, *, frames: FrameBatch | None = None, values: SignalBatch | None = None) -> None:
        """Sends live packets and waits until they are recorded."""
        self.hold(frames=frames, values=values)
        await self.settle()

    def hold(self, *, frames: FrameBatch | None = None, values: SignalBatch | None = None) -> None:
        """Numbers packets and keeps them: backlog of the next connection, or live at the next `settle`."""
        if frames is not None:
            self.lanes[0].take_frames(frames, 0.0)
        if values is not None:
            self.lanes[1].take_signals(values, 0.0)

    def say_clock(self, record: ClockRecord) -> None:
        """Numbers what is said of the clock, in both lanes."""
        for lane in self.lanes:
            lane.take_clock(record, 0.0)

    async def settle(self) -> None:
        """Sends what waits, until the server has acknowledged everything."""
        async with asyncio.timeout(_SECONDS):
            while True:
                for index, lane in enumerate(self.lanes):
                    while (packet := lane.next_packet()) is not None:
                        await self._data.send_bytes(self._encoder.encode(Envelope(index, *packet)))
                if all(lane.is_empty for lane in self.lanes):
                    return
                message = await self._data.receive()
                assert message.type is aiohttp.WSMsgType.BINARY, message
                ack = decode_ack(message.data)
                self.lanes[ack.lane_index].acknowledged(RangeKind(ack.range_kind), ack.number)


async def signal_agent(server: Server, agent_id: str = "van7", **options: Any) -> SignalAgent:
    """A registered agent of this server."""
    return SignalAgent(await server.agent(agent_id), agent_id, **options)
