"""Signal tables over real sockets: asked for once, checked in every respect, told where they are too new."""

from __future__ import annotations

import base64
import random
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from can_stream.protocol.control import TABLE_PART_BYTES
from can_stream.signals.model import SignalModel
from can_stream.signals.table import SignalTable
from tests.helpers.api_server import API, Server, api_server, listen, next_event
from tests.helpers.signal_agent import signal_agent
from tests.helpers.signal_tables import gear_table, table_of


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


async def test_a_table_is_asked_for_once_whoever_has_it(tmp_path: Path) -> None:
    table, other = gear_table(), gear_table("gear")
    async with api_server(tmp_path) as server:
        first, second = await signal_agent(server), await signal_agent(server, "van8")
        assert await first.hello([table, other, table]) == [table.hash.hex(), other.hash.hex()]
        assert await first.report([table, other]) == [], "asked twice on one connection"
        await first.give(table)
        assert await second.hello([other, table]) == [other.hash.hex()]
        await first.give(other)
        assert await second.report([other, table]) == []
        view = await (await server.user("viewer")).get(f"{API}/dongles/van8-can0")
        assert (view["frames"], view["signal_table"]) == ("all", other.hash.hex())
    async with api_server(tmp_path) as server:
        third = await signal_agent(server, "van9")
        assert await third.hello([table, other], "off") == []
        view = await (await server.user("viewer")).get(f"{API}/dongles/van9-can0")
        assert (view["frames"], view["signal_table"]) == ("off", table.hash.hex())


def part(table: SignalTable, **changes: Any) -> dict[str, Any]:
    """The only message of a small table, with something wrong in it."""
    body = table.to_bytes()
    message: dict[str, Any] = {"hash": table.hash.hex(), "size": len(body), "offset": 0, "part": body}
    message |= {"type": "signal_table"} | changes
    return message | {"part": base64.b64encode(message["part"]).decode()}


GOOD = gear_table()
BODY = GOOD.to_bytes()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (part(GOOD, part=b"x" * 100, size=100), "not a signal table"),
        (part(GOOD, part=BODY[:-1], size=len(BODY) - 1), "table"),
        (part(GOOD, part=gear_table("x").to_bytes(), size=len(gear_table("x").to_bytes())), "has the hash"),
        (part(GOOD, hash="0" * 32), "was not asked for"),
        (part(GOOD, offset=1), "offset: 1 where 0 was due"),
        (part(GOOD, size=4 * 1024 * 1024 + 1), "at most 4194304"),
        (part(GOOD, size=len(BODY) - 1), "are missing"),
        (part(GOOD, part=b""), "0 bytes"),
        (part(GOOD, size=0), "size"),
        (part(GOOD, part=b"x" * (128 * 1024 + 1), size=10**6), "part"),
        ({"type": "signal_table", "hash": GOOD.hash.hex(), "size": 1, "offset": 0, "part": "?"}, "part"),
    ],
)
async def test_a_wrong_table_is_refused_by_name_and_the_right_one_taken(
    server: Server, message: dict[str, Any], reason: str
) -> None:
    agent = await signal_agent(server)
    assert await agent.hello([GOOD]) == [GOOD.hash.hex()]
    await agent.control.send_json(message)
    error = await agent.control.receive_json(timeout=10)
    assert (error["type"], error["code"]) == ("error", "PROTOCOL_ERROR")
    assert reason in error["message"]
    assert await agent.hello([GOOD]) == [GOOD.hash.hex()], "kept although it was wrong"
    await agent.give(GOOD)
    assert await agent.report([GOOD]) == []


async def test_a_table_of_a_newer_agent_is_told_and_its_connection_goes_on(server: Server) -> None:
    newer = b"SIGT" + zlib.compress(msgspec.msgpack.encode([2, {"what": "only later versions know"}]))
    agent = await signal_agent(server)
    assert await agent.hello([GOOD]) == [GOOD.hash.hex()]
    async with await listen(await server.user("viewer"), "van7-can0") as console:
        await agent.control.send_json(part(GOOD, part=newer, size=len(newer)))
        said = await next_event(console, "log")
    assert "version 2" in said["message"]
    assert "update the older" in said["message"]
    assert await agent.report([GOOD]) == [], "asked for again, or closed"


async def test_a_large_table_comes_in_parts(server: Server) -> None:
    dice = random.Random(1)
    names = [[f"{dice.getrandbits(128):x}" for _ in range(64)] for _ in range(320)]
    big = table_of({row[0]: [SignalModel(name, n, 1) for n, name in enumerate(row)] for row in names})
    assert len(big.to_bytes()) > 2 * TABLE_PART_BYTES
    agent = await signal_agent(server)
    assert await agent.hello([big]) == [big.hash.hex()]
    await agent.give(big)
    assert await agent.report([big]) == []
