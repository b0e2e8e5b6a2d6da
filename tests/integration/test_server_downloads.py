"""Downloads of a recording: how many, for how long, and that nobody else notices."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames
from stream_server.access import credentials
from stream_server.config import ConsoleSection, LimitsSection, ServerConfig, ServerSection
from tests.helpers import recordings
from tests.helpers.api_server import API, Api, Server, api_server, eventually
from tests.helpers.server_parts import START, frames

PATH: Final = f"{API}/dongles/van7-can0/frames"
PACKETS, FRAMES = 30, 8192
"""Some 11 MB of text: more than sockets hold."""


def settings(send_timeout_seconds: float = 20.0, **limits: int) -> ServerConfig:
    return ServerConfig(
        server=ServerSection(port=0),
        limits=LimitsSection(**limits),
        console=ConsoleSection(send_timeout_seconds=send_timeout_seconds),
    )


async def with_recording(server: Server) -> None:
    await (await server.agent()).hello()
    batch = frames(1, FRAMES)
    times = batch.timestamp_ns
    bodies = [encode_frames(PacketNumber(START, seq), batch, 1000) for seq in range(1, PACKETS + 1)]
    await server.services.recording.write(
        lambda connection: recordings.record(
            connection,
            *bodies,
            dongle_id="van7-can0",
            span_ns=lambda _seq: (int(times[0]), int(times[-1])),
        )
    )


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    limits = settings(1.0, downloads_per_credential=2, downloads=3)
    async with api_server(tmp_path, limits) as running:
        await with_recording(running)
        yield running


class Stalled:
    """A client that asks for the whole recording and reads nothing, until it is asked to."""

    def __init__(self, viewer: Api, buffer_bytes: int = 4096) -> None:
        host, port = viewer.server.url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self.socket.connect((host, int(port)))
        headers = {"Host": "x", "Connection": "close", **viewer.headers}
        lines = [f"GET {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self.socket.sendall("\r\n".join(lines).encode())

    async def rest(self) -> bytes:
        """What it is still given; a reset ends it as an end does."""
        self.socket.setblocking(False)
        loop, out = asyncio.get_running_loop(), b""
        async with asyncio.timeout(20):
            try:
                while piece := await loop.sock_recv(self.socket, 1 << 20):
                    out += piece
            except ConnectionResetError:
                pass
        self.socket.close()
        return out


async def open_downloads(server: Server, number: int) -> None:
    async def reached() -> bool:
        return bool(server.services.access.open_slots("downloads") == number)

    await eventually(reached)


def text_lines(text: bytes) -> int:
    return text.count(b"\n")


async def test_slots_are_limited_per_credential_and_in_all_and_given_back(tmp_path: Path) -> None:
    async with api_server(tmp_path, settings(downloads_per_credential=2, downloads=3)) as server:
        await with_recording(server)
        one, two = await server.user("viewer"), await server.user("viewer")
        held = [Stalled(one), Stalled(one)]
        await open_downloads(server, 2)
        status, body, response = await one.ask("GET", PATH)
        assert (status, body["code"]) == (429, "TOO_MANY_DOWNLOADS")
        assert int(response.headers["Retry-After"]) >= 1
        assert (await one.ask("GET", f"{API}/dongles"))[0] == 200
        assert text_lines((await two.ask("GET", PATH))[1]) == PACKETS * FRAMES
        held.append(Stalled(two))
        await open_downloads(server, 3)
        status, body, _ = await two.ask("GET", PATH)
        assert (status, body["code"]) == (429, "TOO_MANY_DOWNLOADS")
        for one_held in held:
            one_held.socket.close()
        await open_downloads(server, 0)
        assert text_lines((await one.ask("GET", PATH))[1]) == PACKETS * FRAMES


async def test_who_reads_nothing_is_cut_off_and_who_reads_gets_everything(server: Server) -> None:
    stalled = Stalled(await server.user("viewer"))
    await open_downloads(server, 1)
    reader = asyncio.create_task((await server.user("viewer")).ask("GET", PATH))
    await open_downloads(server, 0)
    assert server.services.long_answers.send_timeouts == 1
    assert text_lines((await reader)[1]) == PACKETS * FRAMES
    assert len(await stalled.rest()) < 6_000_000


async def test_a_revoked_credential_loses_its_downloads(tmp_path: Path) -> None:
    async with api_server(tmp_path, settings()) as server:
        await with_recording(server)
        viewer, other = await server.user("viewer"), await server.user("viewer")
        who = await viewer.get(f"{API}/auth/me")
        token_id = int(who["subject"].removeprefix("token:"))
        stalled, kept = Stalled(viewer), Stalled(other, 1 << 18)
        await open_downloads(server, 2)
        await server.services.database.write(
            lambda connection: credentials.revoke_api_token(connection, token_id, 1, "test")
        )
        await server.services.access.tidy()  # which housekeeping does every few seconds
        await open_downloads(server, 1)
        assert len(await stalled.rest()) < 6_000_000
        assert text_lines(await kept.rest()) > PACKETS * FRAMES


async def test_a_server_that_stops_ends_its_downloads_at_once(tmp_path: Path) -> None:
    async with api_server(tmp_path, settings()) as server:
        await with_recording(server)
        stalled = Stalled(await server.user("viewer"))
        await open_downloads(server, 1)
        ends_at = time.monotonic()
    assert time.monotonic() - ends_at < 3
    assert not (await stalled.rest()).endswith(b"0\r\n\r\n"), "a part must not look like the whole"


async def test_head_says_what_get_says_and_reads_no_packet(server: Server) -> None:
    viewer = await server.user("viewer")
    _, text, whole = await viewer.ask("GET", PATH)
    status, body, head = await viewer.ask("HEAD", PATH)
    assert (status, body) == (200, b"")
    said = ("Content-Type", "X-Known-Gaps", "X-Frames-Lost")
    assert [head.headers[name] for name in said] == [whole.headers[name] for name in said]
    assert text_lines(text) == PACKETS * FRAMES


async def test_others_are_answered_while_downloads_run(server: Server) -> None:
    viewer = await server.user("viewer")
    reading = [asyncio.create_task(viewer.ask("GET", f"{PATH}?format=jsonl")) for _ in range(2)]
    await open_downloads(server, 2)
    delays = []
    while not all(one.done() for one in reading):
        began = time.monotonic()
        assert (await viewer.ask("GET", "/healthz"))[0] == 200
        delays.append(time.monotonic() - began)
    assert {text_lines((await one)[1]) for one in reading} == {PACKETS * FRAMES}
    assert sorted(delays)[len(delays) * 9 // 10] < 0.1, delays
