"""What the pipeline's benchmark runs in processes of their own: the agent, its peer, and a sink for both."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import can
import cantools
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bench.receive import Wire, python_can_on
from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.protocol.control import Welcome, encode_control_message
from can_stream.protocol.hop import Ack, HopDecoder, RangeKind, encode_ack
from can_stream.protocol.lanes_control import (
    LanesHello,
    LanesWelcome,
    decode_data_up,
)
from can_stream.protocol.packet_head import MAX_PACKET_BYTES, PacketNumber
from can_stream.protocol.packets import decode_packet
from edge_agent.bus import socketcan
from edge_agent.cli import run as run_command
from stream_server.recording.recorder import FLUSH_SECONDS


def run_agent(config: Path, descriptors: Sequence[int]) -> None:
    """`edge-agent run`, with these sockets instead of those that it would open."""
    if descriptors:
        by_channel = {str(number): socket.socket(fileno=one) for number, one in enumerate(descriptors)}
        socketcan.open_can_socket = lambda dongle: by_channel[dongle.channel]
    run_command.run([f"--config={config}"])


async def run_peer(url: str, database: Path, interface: str | None, descriptors: Sequence[int]) -> None:
    messages = cantools.database.load_file(database)
    assert isinstance(messages, cantools.database.Database)
    reader = can.AsyncBufferedReader()
    with contextlib.ExitStack() as stack:
        if interface:
            buses = [stack.enter_context(can.Bus(interface, "socketcan", ignore_config=True))]
        else:
            opened = [socket.socket(fileno=one) for one in descriptors]
            buses = [stack.enter_context(python_can_on(Wire(None), one)) for one in opened]
        can.Notifier(buses, [reader], loop=asyncio.get_running_loop())
        async with connect(url) as connection:
            async for frame in reader:
                message = messages.get_message_by_frame_id(frame.arbitration_id)
                text = {
                    "ts": frame.timestamp,
                    "bus": str(frame.channel),
                    "id": frame.arbitration_id,
                    "is_extended": frame.is_extended_id,
                    "dlc": frame.dlc,
                    "data_hex": frame.data.hex(),
                    "message": message.name,
                    "signals": message.decode(bytes(frame.data), decode_choices=False),
                }
                await connection.send(json.dumps(text))


class Sink:
    """A server for both: takes the lanes of an agent and acknowledges each packet, or takes JSON messages."""

    def __init__(self) -> None:
        self.ready = 0
        self.frames = 0
        self.wire_bytes = 0
        self._values: dict[int, tuple[int, int]] = {}
        self._texts: list[str | bytes] = []

    async def serve(self) -> None:
        async with serve(self._talk, "127.0.0.1", 0, max_size=None) as server:
            print(next(iter(server.sockets)).getsockname()[1], flush=True)
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._answer, args=[loop], daemon=True).start()
            await server.serve_forever()

    def _answer(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(self._report, line == "values\n")
        loop.call_soon_threadsafe(loop.stop)

    def _report(self, values: bool) -> None:
        report: dict[str, Any] = {"ready": self.ready, "frames": self.frames, "bytes": self.wire_bytes}
        if values:
            newest = {one["message"]: one["signals"] for one in map(json.loads, self._texts)}
            names = {
                f"{message}.{name}": value for message, of in newest.items() for name, value in of.items()
            }
            report |= {"values": names, "numbers": self._values}
        print(json.dumps(report), flush=True)

    async def _talk(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        talk = {"/ws/agent": self._control, "/ws/data": self._data, "/json": self._json}
        with contextlib.suppress(ConnectionClosed):
            await talk[connection.request.path](connection)

    async def _control(self, connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(encode_control_message(Welcome(time.time_ns(), 30.0, MAX_PACKET_BYTES)))
        async for _ in connection:
            pass

    async def _data(self, connection: ServerConnection) -> None:
        hello = decode_data_up(await connection.recv(), 1)
        assert isinstance(hello, LanesHello)
        await connection.send(encode_control_message(LanesWelcome([0] * len(hello.lanes), MAX_PACKET_BYTES)))
        decoder = HopDecoder()
        acks: dict[tuple[int, RangeKind], PacketNumber] = {}
        acknowledging: asyncio.Task[None] | None = None
        self.ready += 1
        async for message in connection:
            assert isinstance(message, bytes)
            envelope = decoder.decode(message)
            packet = decode_packet(envelope.packet)
            self.wire_bytes += len(message)
            if isinstance(packet.body, FrameBatch):
                self.frames += len(packet.body)
            elif isinstance(packet.body, SignalBatch):
                columns = (packet.body.signal, packet.body.kind, packet.body.bits)
                signal, kind, bits = (column.tolist() for column in columns)
                self._values.update(zip(signal, zip(kind, bits, strict=True), strict=True))
            acks[envelope.lane_index, envelope.range_kind] = packet.number
            if acknowledging is None or acknowledging.done():
                acknowledging = asyncio.create_task(_acknowledge(connection, acks))

    async def _json(self, connection: ServerConnection) -> None:
        self.ready += 1
        async for message in connection:
            self.frames += 1
            self.wire_bytes += len(message)  # before it is deflated
            self._texts.append(message)


async def _acknowledge(connection: ServerConnection, acks: dict[tuple[int, RangeKind], PacketNumber]) -> None:
    """What has come, once it would be stored."""
    await asyncio.sleep(FLUSH_SECONDS)
    for (lane_index, kind), number in acks.items():
        await connection.send(encode_ack(Ack(lane_index, kind, number)))
    acks.clear()


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("sink", "ours", "peer"))
    parser.add_argument("--database", type=Path)
    parser.add_argument("--interface")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--descriptors", type=int, nargs="*", default=[])
    options = parser.parse_args()
    if options.what == "sink":
        asyncio.run(Sink().serve())
    elif options.what == "ours":
        run_agent(options.config, options.descriptors)
    else:
        asyncio.run(run_peer(options.url, options.database, options.interface, options.descriptors))


if __name__ == "__main__":
    run()
