"""The largest numbers that messages and requests may have, and larger ones, against a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from can_stream.protocol.control import MAX_RANGES, SUBPROTOCOLS
from tests.helpers.api_server import API, DONGLE, HELLO, api_server, closing

START: Final = "0123456789abcdef"
MOST: Final = 2**63 - 1


@pytest.mark.parametrize("field", ["bitrate", "data_bitrate", "monotonic_ns", "wall_ns", "protocol"])
async def test_a_hello_holds_the_largest_number_and_none_above(
    field: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def hello(number: int) -> dict[str, Any]:
        if field.endswith("bitrate"):
            return HELLO | {"dongles": [DONGLE | {field: number}]}
        return HELLO | {field: number}

    async with api_server(tmp_path) as server:
        agent = await server.agent()
        for number in (2**63, 2**64 - 1, 2**64, 2**70, -1):
            websocket = await agent.control()
            await websocket.send_json(hello(number))
            code, reason = await closing(websocket)
            assert (code, reason[:15]) == (1008, "PROTOCOL_ERROR:"), number
            assert field in reason
        if field != "protocol":
            await (await agent.hello(**hello(MOST))).close()
        dongle = (await (await server.user("viewer")).get(f"{API}/dongles"))["dongles"]
        assert [one.get(field) for one in dongle] == [MOST] or not field.endswith("bitrate")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("version", [1, 2])
async def test_ranges_of_the_largest_numbers_are_added_up(
    version: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def lanes(frames: int, first: int = 1) -> dict[str, Any]:
        """As many ranges as there may be; in version 2 the positions are in the way of large ones."""
        ranges: list[list[object]] = [
            ["11" * 8, seq, seq, frames, 1e10] for seq in range(first, first + MAX_RANGES)
        ]
        if version == 2:
            ranges = [["11" * 8, first, 2**53, 2**53, frames, 1e10]]
        lane = {"dongle_id": "van7-can0", "lane": "frames", "next_seq": 2**53, "backlog": ranges}
        return {"type": "lanes", "start_id": START, "protocol": version, "lanes": [lane]}

    subprotocol = SUBPROTOCOLS[2 - version]
    async with api_server(tmp_path) as server:
        agent = await server.agent()
        await agent.hello(subprotocol, protocol=version)
        for frames in (2**53 + 1, 2**63, 2**64 - 1):
            data = await agent.data(subprotocol)
            await data.send_json(lanes(frames))
            code, reason = await closing(data)
            assert (code, reason[:15]) == (1008, "PROTOCOL_ERROR:"), frames
        for first in (1, 1 + MAX_RANGES, 1 + 2 * MAX_RANGES):
            data = await agent.data(subprotocol)
            await data.send_json(lanes(2**53, first))
            assert (await data.receive_json(timeout=10))["type"] == "lanes_welcome"
            await data.close()
    assert "Traceback" not in caplog.text


async def test_times_beyond_what_a_packet_can_hold_are_refused_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with api_server(tmp_path) as server:
        await (await server.agent()).hello()
        viewer = await server.user("viewer")
        frames = f"{API}/dongles/van7-can0/frames"
        for name in ("from", "to"):
            for text in ("0001-01-01", "9999-12-31", "2300-01-01", "1600-01-01", "0001-01-01T00:00:00+14:00"):
                status, body, _ = await viewer.ask("GET", f"{frames}?{name}={quote(text)}")
                assert (status, body["details"]) == (400, {"field": name}), text
            for text in ("1678-01-01", "2261-12-31T23:59:59Z"):
                assert (await viewer.ask("GET", f"{frames}?{name}={text}"))[0] == 200, text
    assert "Traceback" not in caplog.text
