"""What one would write instead of the relay: two python-can bridges, a server, one JSON message a frame.

    relay_bridge.py server
    relay_bridge.py bridge INTERFACE CHANNEL PORT_OF_BUS URL FIRST_ID LAST_ID
    relay_bridge.py way PORT DELAY_SECONDS

A bridge passes on the ids of its own side only, so that nothing goes round. It keeps none of the relay's
rules. `way` is a wire to a port of this machine, as long as the delay says; on SIGUSR1 it prints what has
passed up and down, in bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import can
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

_CHUNK_BYTES: Final = 1 << 16


def bus_options(port: str) -> dict[str, Any]:
    """What python-can wants to know of a bus. `port` is 0 for SocketCAN."""
    return {"port": int(port)} if int(port) else {}


async def run_server() -> None:
    """Gives each of two connections what the other one says."""
    ends: list[ServerConnection] = []

    async def serve_one(end: ServerConnection) -> None:
        ends.append(end)
        with contextlib.suppress(ConnectionClosed):
            async for message in end:
                for other in ends:
                    if other is not end:
                        await other.send(message)

    async with serve(serve_one, "127.0.0.1", 0, compression=None) as server:
        print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.get_running_loop().create_future()


async def run_bridge(interface: str, channel: str, port: str, url: str, first: str, last: str) -> None:
    """One bus and the server."""
    reader = can.AsyncBufferedReader()
    with can.Bus(channel, interface, ignore_config=True, **bus_options(port)) as bus:
        can.Notifier([bus], [reader], loop=asyncio.get_running_loop())
        async with connect(url, compression=None) as connection:
            print("connected", flush=True)
            down = asyncio.create_task(put_on_bus(connection, bus))
            async for frame in reader:
                if int(first) <= frame.arbitration_id <= int(last):
                    said = {"id": frame.arbitration_id, "data": frame.data.hex(), "at": frame.timestamp}
                    await connection.send(json.dumps(said))
            await down


async def put_on_bus(connection: Any, bus: can.BusABC) -> None:
    """What comes from the other side."""
    async for message in connection:
        said = json.loads(message)
        data = bytes.fromhex(said["data"])
        bus.send(can.Message(arbitration_id=said["id"], is_extended_id=False, data=data))


async def run_way(port: str, delay_seconds: str) -> None:
    """Takes connections; each byte comes out so much later as it went in."""
    loop, passed = asyncio.get_running_loop(), [0, 0]

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: int) -> None:
        while data := await source.read(_CHUNK_BYTES):
            passed[way] += len(data)
            loop.call_later(float(delay_seconds), sink.write, data)
        loop.call_later(float(delay_seconds), sink.close)

    async def pass_on(up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        target, to_target = await asyncio.open_connection("127.0.0.1", int(port))
        for end in (down, to_target):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(pump(up, to_target, 0), pump(target, down, 1), return_exceptions=True)

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(f"passed {passed[0]} {passed[1]}", flush=True))
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


_COMMANDS: Final[Mapping[str, Callable[..., Coroutine[Any, Any, None]]]] = {
    "server": run_server,
    "bridge": run_bridge,
    "way": run_way,
}


if __name__ == "__main__":
    asyncio.run(_COMMANDS[sys.argv[1]](*sys.argv[2:]))
