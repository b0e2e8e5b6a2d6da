"""The server over real sockets: which version is spoken, its books, gaps that are found, an older server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from can_stream.protocol.control import SUBPROTOCOLS
from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind, decode_ack
from can_stream.protocol.lanes_control import (
    BacklogRange,
    LaneHello,
    LanesHello,
    LedgerEntry,
    encode_lanes,
)
from can_stream.protocol.packets import Gap, GapReason
from tests.helpers.api_server import (
    API,
    HELLO,
    Api,
    Server,
    api_server,
    closing,
    eventually,
    listen,
    next_event,
)
from tests.helpers.server_parts import OTHER_START, START, frames_packet, gap_packet

V2, V1 = SUBPROTOCOLS
DONGLE: Final = "van7-can0"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


class Uplink:
    """Both connections of an agent of version 2."""

    def __init__(self, data: aiohttp.ClientWebSocketResponse, welcome: dict[str, Any]) -> None:
        self.welcome = welcome
        self._data = data
        self._encoder = HopEncoder()

    async def send(self, packet: bytes, kind: RangeKind = RangeKind.LIVE) -> None:
        """A packet, and its acknowledgement."""
        await self._data.send_bytes(self._encoder.encode(Envelope(0, kind, packet)))
        decode_ack(await self._data.receive_bytes(timeout=10))

    async def close(self) -> None:
        await self._data.close()


def said(*listed: BacklogRange, **more: Any) -> LaneHello:
    return LaneHello(DONGLE, "frames", more.pop("next_seq", 1), list(listed), **more)


async def uplink(agent: Api, lane: LaneHello, start_id: str = START) -> Uplink:
    data = await agent.data(V2, V1)
    await data.send_str(encode_lanes(LanesHello(start_id, [lane]), 2))
    return Uplink(data, await data.receive_json(timeout=10))


@pytest.mark.parametrize(
    ("offered", "agreed", "version"),
    [((V2, V1), V2, 2), ((V1,), V1, 1), ((), None, 1), ((V1, V2), V1, 1), (("can-edge-agent.v3", V2), V2, 2)],
)
async def test_the_version_is_the_first_that_the_server_speaks(
    server: Server, offered: tuple[str, ...], agreed: str | None, version: int
) -> None:
    agent = await server.agent()
    control = await agent.control(*offered)
    await control.send_json(HELLO | ({"protocol": 2} if version == 2 else {}))
    welcome = await control.receive_json(timeout=10)
    assert (control.protocol, welcome.get("protocol", 1)) == (agreed, version)
    data = await agent.data(*offered)
    lane = said(next_frame=0) if version == 2 else said()
    await data.send_str(encode_lanes(LanesHello(START, [lane]), version))
    welcome = await data.receive_json(timeout=10)
    assert welcome["taken_through"] == [0]
    assert welcome.get("books") == ([[[START, 0, 0, 0]]] if version == 2 else None), "what v1 would refuse"


@pytest.mark.parametrize(("offered", "protocol"), [((V2,), 1), ((V1,), 2), ((), 2)])
async def test_a_greeting_of_another_version_than_was_agreed_is_refused_with_the_remedy(
    server: Server, offered: tuple[str, ...], protocol: int
) -> None:
    agent = await server.agent()
    control = await agent.control(*offered)
    await control.send_json(HELLO | {"protocol": protocol})
    error = await control.receive_json(timeout=10)
    assert error["code"] == "PROTOCOL_ERROR"
    assert "lets Sec-WebSocket-Protocol pass" in error["message"]
    assert (await closing(control))[0] == 1008


@pytest.mark.parametrize(("age_seconds", "welcome"), [(1e10, True), (1e11, False), (1e308, False)])
async def test_an_age_from_before_all_calendars_is_refused_by_name(
    server: Server, age_seconds: float, welcome: bool
) -> None:
    """The console shows when the oldest was made."""
    agent = await server.agent()
    await agent.hello(V2, protocol=2)
    answer = (await uplink(agent, said(BacklogRange(START, 1, 2, 0, 20, age_seconds), next_seq=3))).welcome
    assert answer["type"] == ("lanes_welcome" if welcome else "error")
    assert welcome or (answer["code"] == "PROTOCOL_ERROR" and "backlog[0]" in answer["message"])


async def test_late_data_takes_the_place_of_a_gap_and_everybody_is_told(server: Server) -> None:
    agent, viewer = await server.agent(), await server.user("viewer")
    await agent.hello(V2, protocol=2)
    events = await listen(viewer, DONGLE)
    first = await uplink(agent, said(next_frame=0))
    await first.send(frames_packet(1, 10, position=0))
    await first.send(gap_packet(4, Gap(GapReason.WINDOW, 2, 30), position=10))
    lost = await next_event(events, "gap")
    assert (lost["frames"], lost["where"], lost["lane"]) == (30, "agent_window", "frames")
    listed = BacklogRange(START, 3, 3, 20, 10, 1.0)
    again = await uplink(agent, said(listed, next_seq=5, next_frame=40))
    assert again.welcome["taken_through"] == [1], "it stops before what may be found"
    assert again.welcome["books"] == [[[START, 10, 30, 0]]]
    await again.send(frames_packet(3, 10, position=20), RangeKind.BACKLOG)
    found = await next_event(events, "gap")
    assert (found["gap_id"], found["frames"], found["found"], found["where"]) == (
        lost["gap_id"], 20, 10, "found",
    )  # fmt: skip
    text = (await viewer.ask("GET", f"{API}/dongles/{DONGLE}/frames?format=jsonl"))[1].decode()
    records = [json.loads(line) for line in text.splitlines()]
    kinds = [(record["type"], record.get("frames")) for record in records]
    assert kinds == [*[("can_frame", None)] * 10, ("gap", 20), *[("can_frame", None)] * 10]
    assert records[10]["gap_id"] == lost["gap_id"]
    last = await uplink(agent, said(next_seq=5, next_frame=40, complete=True))
    assert last.welcome["books"] == [[[START, 20, 20, 0]]]


async def test_only_an_owner_who_lists_all_gives_up_what_it_does_not_list(server: Server) -> None:
    agent = await server.agent()
    await agent.hello(V2, protocol=2)
    waiting = BacklogRange(OTHER_START, 1, 3, 0, 30, 5.0)
    await (await uplink(agent, said(waiting, next_frame=0))).close()
    stranger = await uplink(agent, said(next_frame=0, complete=True), "00000000000000c3")
    await stranger.close()
    mine = LedgerEntry(OTHER_START, 3, 30, 0)
    held = await uplink(agent, said(next_frame=0, starts=[mine]))
    assert [OTHER_START, 0, 0, 30] in held.welcome["books"][0]
    await held.close()
    owner = await uplink(agent, said(next_frame=0, complete=True, starts=[mine]))
    assert [OTHER_START, 0, 30, 0] in owner.welcome["books"][0]


async def test_a_server_that_went_back_says_so_once(server: Server) -> None:
    agent, viewer, admin = await server.agent(), await server.user("viewer"), await server.user("admin")
    await agent.hello(V2, protocol=2)
    events = await listen(viewer, DONGLE)
    ledger = [LedgerEntry(OTHER_START, 9, 100, 80)]
    for _ in range(2):
        await (await uplink(agent, said(next_frame=0, complete=True, starts=ledger))).close()
    gap = await next_event(events, "gap")
    assert (gap["frames"], gap["where"]) == (100, "server_restored")
    log = await next_event(events, "log")
    assert "acknowledged 80, and has 0 in its recording" in log["message"]

    async def audited() -> list[Any]:
        records = (await admin.get(f"{API}/audit"))["records"]
        return [record for record in records if record["action"] == "recording.went_back"]

    (record,) = await eventually(audited)
    assert record["subject"] == f"dongle:{DONGLE}"
    assert record["after"]["acknowledged"] == 80


async def test_a_packet_that_contradicts_what_is_recorded_ends_the_session(server: Server) -> None:
    agent = await server.agent()
    await agent.hello(V2, protocol=2)
    first = await uplink(agent, said(next_frame=0))
    await first.send(frames_packet(1, 10, position=0))
    data = await agent.data(V2)
    await data.send_str(encode_lanes(LanesHello(START, [said(next_seq=2, next_frame=10)]), 2))
    await data.receive_json(timeout=10)
    await data.send_bytes(HopEncoder().encode(Envelope(0, RangeKind.LIVE, frames_packet(2, 10, position=5))))
    error = await data.receive_json(timeout=10)
    assert error["code"] == "PROTOCOL_ERROR"
    assert "frames 5 to 14" in error["message"]
