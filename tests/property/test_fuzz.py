"""Messages and requests with anything wrong in them: the documented end, no traceback, and honest ones work.

`FUZZ_MESSAGES` says how many, `FUZZ_SEED` which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    encode_clock,
    encode_frames,
    encode_gap,
    encode_signals,
)
from stream_server.app import ROUTES
from tests.helpers.api_server import API, HEARTBEAT, HELLO, Api, api_server, closing, config
from tests.helpers.mutations import ODD, mutated, with_other_bytes

MESSAGES: Final = int(os.environ.get("FUZZ_MESSAGES", "43000"))
SEED: Final = int(os.environ.get("FUZZ_SEED", "13"))
EACH: Final = 16
"""How many of them come on one connection: the first that is refused ends it."""
START: Final = "0123456789abcdef"
STARTS: Final = (START, "11" * 8, "33" * 8)
NUMBERS: Final = (1, 2, 3, 5, 99, 2**53)
UNLIMITED: Final = config(requests_per_second=1e9, request_burst=10**9, failed_authentications_per_minute=1e9)
DONGLE: Final = {
    "dongle_id": "van7-can0", "interface": "x", "channel": "c", "device_id": "d", "mode": "normal",
    "bitrate": 5, "fd": True, "data_bitrate": 7, "frames": "off", "signal_tables": ["0" * 32],
}  # fmt: skip
SERVICE: Final = {
    "service_id": "s", "agent_service_id": "s", "label": "l", "service_type": "t", "status_code": 0,
    "status": "x", "message": "m", "last_seen": "x", "metrics": {"a": 1},
}  # fmt: skip
SAID: Final[list[dict[str, Any]]] = [
    HEARTBEAT,
    {"type": "devices_report", "dongles": [DONGLE]},
    {"type": "status", "services": [SERVICE]},
    {"type": "log", "wall_ns": 5, "level": "info", "source": "s", "message": "m", "dongle_id": "van7-can0"},
    {"type": "discovery", "wall_ns": 1, "kind": "NewId", "slug": "x", "details": {"x": [1]}},
    {"type": "signal_table", "hash": "0" * 32, "size": 10, "offset": 0, "part": "U0lHVA=="},
    {"type": "command_status", "command_id": "x", "status": "done"},
]
LANES: Final = {
    "type": "lanes",
    "start_id": START,
    "lanes": [
        {"dongle_id": "van7-can0", "lane": "frames", "next_seq": 1, "backlog": [["11" * 8, 1, 5, 5, 1.0]]},
        {"dongle_id": "van7-can0", "lane": "signals", "next_seq": 1},
    ],
}
REFUSED: Final = {1003, 1008, 1009}


async def test_whatever_an_agent_says_of_itself_ends_as_documented(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = Random(SEED)
    async with api_server(tmp_path, UNLIMITED) as server:
        agent = await server.agent()
        for _ in range(MESSAGES // EACH):
            websocket = await agent.control()
            greeting = HELLO | {"dongles": [DONGLE]}
            said = [mutated(chance, greeting) if chance.random() < 0.6 else greeting]
            said += [chance.choice(SAID) for _ in range(chance.randrange(4))]
            said += [mutated(chance, chance.choice(SAID)) for _ in range(4)]
            assert await _ended(websocket, [json.dumps(one) for one in said]) in REFUSED
        await _honest(agent)
    assert "Traceback" not in caplog.text


async def test_whatever_comes_as_packets_ends_as_documented(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = Random(SEED)
    async with api_server(tmp_path, UNLIMITED) as server:
        agent = await server.agent()
        _control = await agent.hello(dongles=[DONGLE])
        for _ in range(MESSAGES // EACH):
            websocket, encoder = await agent.data(), HopEncoder()
            lanes = mutated(chance, LANES) if chance.random() < 0.6 else LANES
            packets = [
                encoder.encode(
                    Envelope(chance.choice((0, 0, 0, 1)), chance.choice(list(RangeKind)), _packet(chance))
                )
                for _ in range(EACH)
            ]
            assert await _ended(websocket, [json.dumps(lanes), *packets]) in REFUSED
        await _honest(agent)
        viewer = await server.user("viewer")
        assert (await viewer.ask("GET", f"{API}/dongles/van7-can0/frames?format=jsonl"))[0] == 200
    assert "Traceback" not in caplog.text


async def test_whatever_is_asked_gets_a_documented_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chance = Random(SEED)
    async with api_server(tmp_path, UNLIMITED) as server:
        agent, admin = await server.agent(), await server.user("admin")
        await server.agent("van9")  # the one that is asked about, disabled and revoked
        await (await agent.hello()).close()
        for _ in range(MESSAGES // 3):
            route = chance.choice(ROUTES)
            who = agent if route.needs == "agent" else admin
            status = await _asked(chance, who, route.method, route.path, list(route.query))
            assert status in {200, 201, 400, 401, 403, 404, 405, 406, 409, 413, 415, 426, 429}, route.path
        await _honest(agent)
        assert (await admin.get(f"{API}/dongles"))["dongles"]
    assert "Traceback" not in caplog.text


async def _ended(websocket: aiohttp.ClientWebSocketResponse, said: Sequence[str | bytes]) -> int | None:
    """The close code, at the latest for what nobody can take for anything."""
    try:
        for one in [*said, "neither this"]:
            await (websocket.send_bytes(one) if isinstance(one, bytes) else websocket.send_str(one))
    except (ConnectionError, aiohttp.ClientError):
        pass  # it has been closed: why, is still to be read
    code, _ = await closing(websocket)
    return code


async def _honest(agent: Api) -> None:
    websocket = await agent.hello()
    await websocket.send_json(HEARTBEAT)
    assert (await agent.ask("POST", f"{API}/agents/heartbeat", HEARTBEAT))[0] == 200
    await websocket.close()


async def _asked(chance: Random, who: Api, method: str, path: str, query: list[str]) -> int:
    for name, value in {"dongle_id": "van7-can0", "agent_id": "van9", "name": "console.js"}.items():
        path = path.replace(f"{{{name}}}", quote(str(chance.choice((value, value, *ODD))) or "-", safe=""))
    asked = "&".join(f"{name}={quote(str(chance.choice(ODD)))}" for name in query if chance.random() < 0.5)
    body = mutated(chance, chance.choice([*SAID, {"max_frames_per_second": 5}, {"token": "x"}]))
    content = json.dumps(body).encode() if method != "GET" else None
    if content and chance.random() < 0.2:
        content = with_other_bytes(chance, content)
    url = f"{who.server.url}{path}?{asked}"
    async with who.session.request(method, url, headers=who.headers, data=content) as response:
        if response.status >= 400:
            assert set(await response.json()) == {"code", "message", "details"}
        return response.status


def _packet(chance: Random) -> bytes:
    number, rows = PacketNumber(chance.choice(STARTS), chance.choice(NUMBERS)), chance.choice((1, 2, 50))
    times = np.arange(rows, dtype=np.int64) * 10 ** chance.randrange(12)
    match chance.randrange(4):
        case 0:
            ids, zeros = np.arange(rows, dtype=np.uint32), np.zeros(rows, np.uint8)
            eight = np.full(rows, 8, np.uint8)
            packet = encode_frames(
                number, FrameBatch(times, ids, zeros, eight, np.zeros((rows, 8), np.uint8)), 1000
            )
        case 1:
            columns = (
                np.arange(rows, dtype=np.uint32),
                np.zeros(rows, np.uint8),
                np.arange(rows, dtype=np.uint64),
            )
            packet = encode_signals(number, SignalBatch(b"\0" * 16, times, *columns), 1000)
        case 2:
            first, ns = max(1, number.seq - chance.randrange(3)), chance.choice((None, 0, -(2**61), 2**61))
            frames = chance.choice((None, 0, 5, 2**53))
            packet = encode_gap(number, Gap(chance.choice(list(GapReason)), first, frames, ns, None))
        case _:
            offset_ns = chance.choice((0, 2**61, -(2**61)))
            packet = encode_clock(number, ClockRecord("b", offset_ns, chance.random() < 0.5))
    return with_other_bytes(chance, packet) if chance.random() < 0.5 else packet
