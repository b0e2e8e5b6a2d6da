"""Memory: the ledger says what is held, and an agent over its share is slowed, told and cut, no other."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
import pytest
from msgspec.structs import replace

from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind, decode_ack
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames
from stream_server.config import LimitsSection, ServerConfig, ServerSection
from tests.helpers.api_server import (
    API,
    DONGLE,
    HELLO,
    Api,
    Server,
    api_server,
    eventually,
    listen,
    next_event,
)
from tests.helpers.memory import resident
from tests.helpers.processes import StreamServer
from tests.helpers.server_parts import frames

DONGLES: Final = [f"van7-can{number}" for number in range(64)]
LOG: Final = {"type": "log", "wall_ns": 1, "level": "info", "source": "x", "message": "y"}


def listed(names: list[str]) -> list[dict[str, Any]]:
    return [DONGLE | {"dongle_id": name} for name in names]


async def flood(websocket: aiohttp.ClientWebSocketResponse, messages: int, size_bytes: int) -> None:
    """Logs, each for one dongle in turn but the last."""
    for number in range(messages):
        details = {"text": f"{number:09d}" * (size_bytes // 9)}
        await websocket.send_json(LOG | {"dongle_id": DONGLES[number % 63], "details": details})


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Server]:
    settings = ServerConfig(ServerSection(port=0), LimitsSection(memory_bytes=64_000_000))
    async with api_server(tmp_path, settings) as running:
        yield running


async def test_an_agent_over_its_share_is_told_and_cut_and_others_notice_nothing(small: Server) -> None:
    honest = await (await small.agent("van8")).hello(
        agent_id="van8", dongles=listed(["van8-can0"]), start_id="0123456789abcdee"
    )
    viewer = await small.user("viewer")
    own = await listen(viewer, "van8-can0")
    agent = await small.agent()
    websocket = await agent.hello(dongles=listed(DONGLES))
    others = await listen(viewer, DONGLES[63])
    with contextlib.suppress(ConnectionError):
        for _ in range(20):
            await flood(websocket, 64, 200_000)
            if websocket.closed:
                break
    said = []
    async with asyncio.timeout(20):
        while not websocket.closed:
            said.append(await websocket.receive())
    assert websocket.close_code == 1013
    assert [json.loads(one.data)["code"] for one in said if one.type is aiohttp.WSMsgType.TEXT] == [
        "OVER_SHARE"
    ]
    while (told := await next_event(others, "log"))["source"] != "server":
        pass
    assert "more of the server's memory than its share" in told["message"]
    await honest.send_json(LOG | {"message": "all is well"})
    assert (await next_event(own, "log"))["message"] == "all is well"

    async def is_within() -> bool:
        return bool(sum(small.services.memory.ledger().values()) < 20_000_000)

    await eventually(is_within)


async def ledger(viewer: Api) -> float:
    text = (await viewer.ask("GET", "/metrics"))[1].decode()
    return sum(map(float, re.findall(r"^stream_server_memory_bytes\{.*\} (\S+)$", text, re.MULTILINE)))


async def send_packets(agent: Api, rounds: range) -> None:
    """In each round a live packet of every lane; they deflate badly. Returns when all are stored."""
    random = np.random.default_rng(1)
    encoder, websocket = HopEncoder(), await agent.data()
    lanes = [{"dongle_id": name, "lane": "frames", "next_seq": rounds.start} for name in DONGLES]
    await websocket.send_json({"type": "lanes", "start_id": HELLO["start_id"], "lanes": lanes})
    await websocket.receive_json(timeout=10)
    same = frames(1, 8192)
    for seq, lane in itertools.product(rounds, range(len(DONGLES))):
        batch = replace(same, data=random.integers(0, 256, (8192, 8), np.uint8))
        packet = encode_frames(PacketNumber(str(HELLO["start_id"]), seq), batch, 1000)
        await websocket.send_bytes(encoder.encode(Envelope(lane, RangeKind.LIVE, packet)))
    due = set(range(len(DONGLES)))
    async with asyncio.timeout(30):
        while due:
            ack = decode_ack((await websocket.receive()).data)
            if ack.number.seq == rounds[-1]:
                due.discard(ack.lane_index)


async def test_the_ledger_explains_what_the_process_takes(tmp_path: Path) -> None:
    settings = tmp_path / "server.toml"
    settings.write_text("[limits]\nmemory_bytes = 4_000_000_000\n")
    with StreamServer(tmp_path / "data", "--config", settings) as server:
        async with aiohttp.ClientSession() as session:
            viewer = Api(server, session, server.create_token("viewer"))
            body = {"enrolment_token": server.administer("enroll", "create").strip(), "agent_id": "van7"}
            _, answer, _ = await viewer.ask("POST", f"{API}/agents/register", body)
            agent = Api(server, session, answer["agent_token"])
            websocket = await agent.hello(dongles=listed(DONGLES))
            # What the first messages and packets take once: caches, buffers, the pages of what they load.
            await flood(websocket, 64, 100_000)
            await send_packets(agent, range(1, 3))
            before, counted = resident(server.process.pid).now, await ledger(viewer)
            await flood(websocket, 600, 100_000)
            await send_packets(agent, range(3, 8))

            async def has_come() -> bool:
                return await ledger(viewer) - counted > 85_000_000

            await eventually(has_come)
            grown = resident(server.process.pid).now - before
            explained = await ledger(viewer) - counted
            assert 0.7 * explained < grown < 1.3 * explained
