"""Each kind of credential, each kind of open connection, each way to end it: over within five seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from click.testing import CliRunner

from can_stream.protocol.hop import Envelope, HopEncoder, RangeKind
from stream_server.access import credentials
from stream_server.main import main
from tests.helpers.api_server import API, Api, Server, api_server, closing, eventually, listen, next_event
from tests.helpers.server_parts import START, frames_packet

WITHIN_SECONDS: Final = 5.0
LANES: Final = {
    "type": "lanes",
    "start_id": START,
    "lanes": [{"dongle_id": "van7-can0", "lane": "frames", "next_seq": 1}],
}
# Far more than what lies in buffers between a server and a client that reads nothing.
PACKETS: Final = 50
FRAMES_PER_PACKET: Final = 8192


class Place:
    """A server with one recording, and the command line beside it."""

    def __init__(self, server: Server, data_dir: Path) -> None:
        self.server = server
        self.data_dir = data_dir

    async def command(self, *words: str) -> str:
        line = [*words, "--data-dir", str(self.data_dir)]
        result = await asyncio.to_thread(CliRunner().invoke, main, line)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def newest(self, *listed: str) -> str:
        return (await self.command(*listed)).splitlines()[-1].split()[0]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a large recording of van7-can0."""
    place = tmp_path_factory.mktemp("recorded")
    asyncio.run(record_much(place))
    return place


async def record_much(place: Path) -> None:
    async with api_server(place) as server:
        agent = await server.agent()
        await agent.hello(start_id=START)
        data = await agent.data()
        await data.send_json(LANES)
        assert (await data.receive_json())["type"] == "lanes_welcome"
        hop = HopEncoder()
        for seq in range(1, PACKETS + 1):
            packet = frames_packet(seq, FRAMES_PER_PACKET)
            await data.send_bytes(hop.encode(Envelope(0, RangeKind.LIVE, packet)))
        viewer = await server.user("viewer")
        async with asyncio.timeout(20):
            while (await viewer.get(f"{API}/dongles/van7-can0"))["recording"]["packets"] < PACKETS:
                await data.receive()


@pytest.fixture
async def place(recorded: Path) -> AsyncIterator[Place]:
    async with api_server(recorded) as server:
        yield Place(server, recorded)


Ended = Callable[[], Coroutine[Any, Any, Any]]


async def open_console(who: Api) -> Ended:
    events = await listen(who, "van7-can0")
    await next_event(events, "presence")

    async def ended() -> None:
        with contextlib.suppress(aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
            async for _ in events.content:
                pass

    return ended


async def open_download(place: Place, who: Api) -> Ended:
    """Of a client that reads no more than its beginning, until nothing is sent any more."""
    url = f"{who.server.url}{API}/dongles/van7-can0/frames"
    answer = await who.session.get(url, headers=who.headers)
    assert answer.status == 200
    assert await answer.content.read(1000)

    async def is_cut() -> bool:
        return not place.server.services.access.open_slots("downloads")

    async def ended() -> None:
        await eventually(is_cut)
        # What its own kernel has of it comes, and then no end.
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
            await answer.read()

    return ended


async def open_agent(agent: Api, agent_id: str, endpoint: str, *, greet: bool) -> Ended:
    websocket = await (agent.control() if endpoint == "control" else agent.data())
    if greet and endpoint == "data":
        await websocket.send_json(LANES | {"lanes": []})
        await websocket.receive_json()
    elif greet:
        await websocket.close()
        websocket = await agent.hello(agent_id=agent_id, dongles=[])

    async def ended() -> tuple[int | None, str]:
        return await closing(websocket)

    return ended


async def over(all_ended: list[Ended], began: float) -> list[Any]:
    """What each end said. All have come in time."""
    results = await asyncio.gather(*(ended() for ended in all_ended))
    assert time.monotonic() - began < WITHIN_SECONDS
    return results


async def test_a_revoked_token_loses_console_and_download_and_another_keeps_them(place: Place) -> None:
    other, viewer = [await place.server.user("viewer") for _ in range(2)]
    kept = asyncio.create_task((await open_console(other))())
    open_now = [await open_console(viewer), await open_download(place, viewer)]
    began = time.monotonic()
    await place.command("token", "revoke", await place.newest("token", "list"))
    await over(open_now, began)
    assert not kept.done(), "who has another token notices nothing"
    kept.cancel()


async def test_a_closed_session_loses_console_and_download(place: Place) -> None:
    now_ns = time.time_ns()
    link: str = await place.server.services.database.write(
        lambda connection: credentials.create_admin_link(connection, now_ns, "test")
    )
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        page = Api(place.server.running, browser, None)
        _, body, _ = await page.ask("POST", f"{API}/auth/link", {"token": link})
        open_now = [await open_console(page), await open_download(place, page)]
        began = time.monotonic()
        csrf = {"X-CSRF-Token": body["csrf_token"]}
        assert (await page.ask("POST", f"{API}/auth/logout", headers=csrf))[0] == 200
        await over(open_now, began)


Way = Callable[[Place, str, str], Awaitable[None]]


async def by_command(place: Place, agent_id: str, deed: str) -> None:
    await place.command("agents", deed, agent_id)


async def by_api(place: Place, agent_id: str, deed: str) -> None:
    admin = await place.server.user("admin")
    assert (await admin.ask("POST", f"{API}/agents/{agent_id}/{deed}"))[0] == 200


async def by_enrolling(place: Place, agent_id: str, _deed: str) -> None:
    await enrolled(place, agent_id)


async def enrolled(place: Place, agent_id: str) -> Api:
    token = (await place.command("enroll", "create", "--agent-id", agent_id)).strip()
    body = {"enrolment_token": token, "agent_id": agent_id}
    status, answer, _ = await place.server.api().ask("POST", f"{API}/agents/register", body)
    assert status == 201, answer
    return place.server.api(answer["agent_token"])


WAYS: Final[list[tuple[Way, str]]] = [
    (by_command, "revoke"),
    (by_command, "disable"),
    (by_api, "revoke"),
    (by_api, "disable"),
    (by_enrolling, ""),
]


@pytest.mark.parametrize(("way", "deed"), WAYS)
@pytest.mark.parametrize("greet", [True, False], ids=["greeted", "half-open"])
async def test_an_agent_whose_token_ends_loses_both_websockets(
    place: Place, way: Way, deed: str, greet: bool
) -> None:
    agent_id = f"van-{way.__name__}-{deed}-{greet}".lower().replace("_", "-")
    agent, other = await enrolled(place, agent_id), await enrolled(place, "van9")
    kept = asyncio.create_task((await open_agent(other, "van9", "control", greet=True))())
    open_now = [await open_agent(agent, agent_id, endpoint, greet=greet) for endpoint in ("control", "data")]
    began = time.monotonic()
    await way(place, agent_id, deed)
    for code, reason in await over(open_now, began):
        assert code == 4002
        assert reason == "this agent's token is void: the agent was enrolled again, revoked or disabled"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await agent.control()
    assert refused.value.status == 401
    assert not kept.done(), "another agent notices nothing"
    kept.cancel()


async def test_a_client_that_neither_reads_nor_hangs_up_is_cut_all_the_same(place: Place) -> None:
    """It gets the close frame, and never answers it."""
    agent = await enrolled(place, "van10")
    reader, writer = await asyncio.open_connection("127.0.0.1", place.server.running.port)
    lines = [
        "GET /ws/agent HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        f"Authorization: {agent.headers['Authorization']}",
    ]  # fmt: skip
    writer.write("\r\n".join([*lines, "", ""]).encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    began = time.monotonic()
    await place.command("agents", "revoke", "van10")
    with contextlib.suppress(ConnectionResetError):
        await reader.read(-1)
    assert time.monotonic() - began < WITHIN_SECONDS
    writer.close()
