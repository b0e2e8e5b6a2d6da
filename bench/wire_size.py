"""Bytes on the socket per frame: a replay of ours against JSON per frame over a compressed WebSocket.

    python bench/wire_size.py [LOG]...

Counted is everything that goes upstream. The logs are those named, else the shared ones.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from bench.report import Comparison, show, show_skipped
from can_stream.logs.log_reader import open_log
from can_stream.text.frame_json import FrameOrigin, can_frame_json, rows_of
from tests.helpers.agents import replay_through
from tests.helpers.metered_proxy import MeteredProxy
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary
from tests.helpers.shared_data import ICSIM, KONA


def ours(log: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with StreamServer(directory / "server") as server, MeteredProxy(server.port) as proxy:
            agent = EnrolledAgent(server, "van7", directory)
            options = ["--speed", "max", "--flush-seconds", "0.25"]
            with replay_through(agent, proxy.url, log, options=options) as process:
                frames = replay_summary(process).frames
            return proxy.upstream_bytes / frames


async def json_per_frame(log: Path) -> float:
    """The same frames, one JSON message each, permessage-deflate with its context kept."""

    async def swallow(connection: ServerConnection) -> None:
        async for _ in connection:
            pass

    frames = 0
    async with serve(swallow, "127.0.0.1", 0) as server:
        with MeteredProxy(server.sockets[0].getsockname()[1]) as proxy:
            async with connect(f"ws://127.0.0.1:{proxy.port}", proxy=None) as connection:
                origin = FrameOrigin("van7-can0", "can0")
                for batch in open_log(log):
                    for row in rows_of(batch.frames):
                        await connection.send(can_frame_json(row, origin, 1).decode())
                        frames += 1
            return proxy.upstream_bytes / frames


def main() -> None:
    for log in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else (KONA, ICSIM):
        if not log.exists():
            show_skipped(f"{log.name}: needs the shared recordings")
            continue
        mine, peer = ours(log), asyncio.run(json_per_frame(log))
        show(Comparison(log.name, peer / mine, mine, peer, "bytes per frame"))


if __name__ == "__main__":
    main()
