"""What `bench/ingest.py` compares with: frames as JSON over a WebSocket, a row each in SQLite.

    python bench/sides/ingest_peer.py DATABASE

What one would write: aiohttp takes an array of frames per message, inserts each frame as a row, commits every
60 ms with `synchronous` as ours, and then sends how many messages of that connection are stored.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Final

from aiohttp import WSMsgType, web

COMMIT_SECONDS: Final = 0.06
_Row = tuple[int, float, str, str]


async def serve(path: Path) -> None:
    """Serve for ever; the port goes to standard output."""
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE frames (agent INTEGER, ts REAL, can_id TEXT, data TEXT)")
    rows: list[_Row] = []
    due: dict[web.WebSocketResponse, int] = {}

    async def take(request: web.Request) -> web.WebSocketResponse:
        websocket, agent, received = web.WebSocketResponse(compress=False), int(request.query["agent"]), 0
        await websocket.prepare(request)
        await websocket.receive_str()
        await websocket.send_str("welcome")
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                received += 1
                frames = json.loads(message.data)
                rows.extend((agent, frame["ts"], frame["id"], frame["data"]) for frame in frames)
                due[websocket] = received
        return websocket

    def commit(stored: list[_Row]) -> None:
        database.execute("BEGIN")
        database.executemany("INSERT INTO frames VALUES (?, ?, ?, ?)", stored)
        database.execute("COMMIT")

    app = web.Application()
    app.router.add_get("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    print(runner.addresses[0][1], flush=True)
    while True:
        await asyncio.sleep(COMMIT_SECONDS)
        stored, acks = rows.copy(), due.copy()
        rows.clear()
        due.clear()
        if stored:
            await asyncio.to_thread(commit, stored)
        for websocket, received in acks.items():
            await websocket.send_str(str(received))


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
