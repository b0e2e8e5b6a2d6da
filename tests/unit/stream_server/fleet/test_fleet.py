"""The fleet: connections that replace each other, presence as the consoles are told it, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from sqlalchemy import select

from can_stream.protocol.control import DongleInfo, Hello
from can_stream.text.timestamps import format_timestamp
from stream_server import clock
from stream_server.errors import ApiError, StorageError
from stream_server.fleet.connections import Endpoint
from stream_server.fleet.fleet import REPLACED, TOKEN_VOID
from stream_server.fleet.presence import CLOSE_SECONDS, SILENCE_SECONDS
from stream_server.storage import server_schema as schema
from stream_server.storage.database import Database
from tests.helpers.server_parts import (
    START,
    TABLE,
    ServerParts,
    dongle,
    enrol,
    new_recording,
    new_storage,
    values,
)

OTHER_TABLE: Final = "b" * 32
NOON_NS: Final = 1_766_404_800_000_000_000


class Clock:
    """The clocks of the server, which go on when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 1000.0
        monkeypatch.setattr(clock, "monotonic_seconds", lambda: self.seconds)
        monkeypatch.setattr(clock, "wall_ns", lambda: NOON_NS + int(self.seconds * 1e9))


class Socket(web.WebSocketResponse):
    """A connection of an agent; `closed_with` is what its agent is told at the end."""

    closed_with: tuple[int, str] | None = None

    async def close(self, *, code: int = 1000, message: bytes = b"", drain: bool = True) -> bool:
        self.closed_with = code, message.decode()
        return True


class Handler:
    """What serves one connection: inside until its agent hangs up or it is dismissed."""

    def __init__(self, parts: ServerParts, agent_id: str, endpoint: Endpoint) -> None:
        self.socket = Socket()
        self.went_on = False
        self._inside = asyncio.Event()
        self._hang_up = asyncio.Event()
        self._parts = parts
        self.task = asyncio.create_task(self._serve(agent_id, endpoint))

    async def _serve(self, agent_id: str, endpoint: Endpoint) -> None:
        async with self._parts.fleet.connected(agent_id, endpoint, self.socket, "192.0.2.7"):
            self._inside.set()
            await self._hang_up.wait()
        self.went_on = True

    async def inside(self) -> Handler:
        async with asyncio.timeout(10):
            await self._inside.wait()
        return self

    async def hang_up(self) -> None:
        self._hang_up.set()
        await self.task


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def parts(tmp_path: Path, time: Clock) -> AsyncIterator[ServerParts]:
    database, recording = Database(new_storage(tmp_path)), Database(new_recording(tmp_path))
    await enrol(database, "van7", "can0", "can1")
    await enrol(database, "van8", "other")
    made = await ServerParts(database, recording).start()
    yield made
    await made.fleet.close()
    await made.recorder.close()
    await recording.close()
    await database.close()


async def connect(parts: ServerParts, agent_id: str = "van7", endpoint: Endpoint = "control") -> Handler:
    return await Handler(parts, agent_id, endpoint).inside()


def hello(*dongles: DongleInfo, **changes: Any) -> Hello:
    said: dict[str, Any] = {"agent_id": "van7", "start_id": START, "boot_id": "boot", "version": "1.2.3"}
    said |= {"monotonic_ns": 5, "wall_ns": 100, "clock_synchronised": True, "dongles": list(dongles)}
    return Hello(**said | changes)


def states(told: list[dict[str, Any]]) -> list[tuple[bool, str]]:
    return [(one["online"], one["reason"]) for one in told]


async def agent_row(parts: ServerParts, agent_id: str = "van7") -> Any:
    query = select(schema.agents).where(schema.agents.c.agent_id == agent_id)
    return await parts.database.read(lambda connection: connection.execute(query).one())


async def test_a_connection_brings_every_dongle_of_its_agent_online_and_nobody_elses(
    parts: ServerParts,
) -> None:
    mine, also_mine, other = (parts.watch(one) for one in ("can0", "can1", "other"))
    await connect(parts)
    assert states(mine.told("presence")) == states(also_mine.told("presence")) == [(True, "connected")]
    assert other.told("presence") == []
    await connect(parts, endpoint="data")
    assert mine.told("presence") == [], "it was online already"


async def test_a_newer_connection_closes_the_older_with_the_reason_and_its_handler_goes_on(
    parts: ServerParts,
) -> None:
    older, console = await connect(parts), parts.watch("can0")
    newer = await connect(parts)
    async with asyncio.timeout(10):
        await older.task
    assert older.socket.closed_with == (REPLACED, "replaced by a newer connection of this agent")
    assert older.went_on
    assert parts.fleet.connections.current("van7", "control") is newer.socket
    assert newer.socket.closed_with is None
    assert console.told("presence") == [], "the agent was there all the time"
    await newer.hang_up()
    assert newer.socket.closed_with == (1000, "")


async def test_another_endpoint_replaces_nothing(parts: ServerParts) -> None:
    control, data = await connect(parts), await connect(parts, endpoint="data")
    other = await connect(parts, agent_id="van8")
    assert [one.socket.closed_with for one in (control, data, other)] == [None] * 3


async def test_a_handler_that_is_cancelled_or_fails_closes_its_connection_and_tells_nobody_otherwise(
    parts: ServerParts,
) -> None:
    handler = await connect(parts)
    handler.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler.task
    assert (handler.socket.closed_with, handler.went_on) == ((1000, ""), False)
    socket = Socket()
    with pytest.raises(ValueError, match="mine"):
        async with parts.fleet.connected("van7", "control", socket, "192.0.2.7"):
            raise ValueError("mine")
    assert socket.closed_with == (1000, "")
    assert parts.fleet.connections.current("van7", "control") is None


async def test_the_first_reason_to_dismiss_a_connection_is_the_one_it_is_told(parts: ServerParts) -> None:
    handler = await connect(parts)
    parts.fleet.dismiss([handler.socket, Socket()], TOKEN_VOID, "enrolled again")
    parts.fleet.dismiss([handler.socket], REPLACED, "too late")
    async with asyncio.timeout(10):
        await handler.task
    parts.fleet.dismiss([handler.socket], REPLACED, "much too late")
    assert handler.socket.closed_with == (TOKEN_VOID, "enrolled again")


async def test_silence_takes_an_agent_offline_and_its_last_sign_of_life_is_stored(
    parts: ServerParts, time: Clock
) -> None:
    await connect(parts)
    console = parts.watch("can0")
    time.seconds += SILENCE_SECONDS - 1
    parts.fleet.seen("van7")
    seen_ns = clock.wall_ns()
    time.seconds += SILENCE_SECONDS - 1
    await parts.fleet.tick()
    assert {*states(console.told("presence"))} == {(True, "connected")}, "as it is repeated now and then"
    time.seconds += 1
    await parts.fleet.tick()
    (offline,) = console.told("presence")
    assert (offline["online"], offline["reason"]) == (False, "silence")
    assert offline["seen_at"] == format_timestamp(seen_ns // 1000)
    assert (await agent_row(parts)).last_seen_at_ns == seen_ns
    await parts.fleet.tick()
    assert console.told("presence") == [], "it is told once"
    parts.fleet.seen("van7")
    assert states(console.told("presence")) == [(True, "connected")]


async def test_an_agent_that_hangs_up_is_offline_a_little_later_unless_it_comes_back(
    parts: ServerParts, time: Clock
) -> None:
    await (await connect(parts)).hang_up()
    console = parts.watch("can0")
    time.seconds += CLOSE_SECONDS - 1
    await parts.fleet.tick()
    again = await connect(parts)
    time.seconds += 2
    await parts.fleet.tick()
    assert console.told("presence") == []
    await again.hang_up()
    time.seconds += CLOSE_SECONDS
    await parts.fleet.tick()
    assert states(console.told("presence")) == [(False, "closed")]


async def test_a_restarted_server_knows_everybody_and_has_seen_nobody(
    parts: ServerParts, time: Clock
) -> None:
    await parts.fleet.hello(hello(dongle("can0", signal_tables=[TABLE])), "192.0.2.7")
    await parts.fleet.set_sampling("can0", None, "token:1", "192.0.2.7")
    await parts.fleet.set_sampling("other", 7, "token:1", "192.0.2.7")
    await parts.fleet.close()
    seen_ns = clock.wall_ns()
    time.seconds += 3600
    again = ServerParts(parts.database, parts.recording)
    await again.fleet.load()
    transition = again.fleet.presence.of("van7")
    assert (transition.online, transition.reason, transition.seen_at_ns) == (False, "server_started", seen_ns)
    known = {one.dongle_id: one for one in again.fleet.dongles_of("van7")}
    assert {name: one.listed for name, one in known.items()} == {"can0": True, "can1": False}
    assert (known["can0"].signal_table, again.hub.feed("can0").table_hash) == (TABLE, TABLE)
    assert [again.fleet.stream(one).max_frames_per_second for one in ("can0", "other")] == [None, 7]


async def test_stopping_closes_every_connection_and_says_why(parts: ServerParts) -> None:
    handlers = [await connect(parts), await connect(parts, endpoint="data"), await connect(parts, "van8")]
    await parts.fleet.close()
    assert {one.socket.closed_with for one in handlers} == {(1001, "the server is stopping")}
    assert all(one.went_on for one in handlers)
    await parts.database.close()
    await parts.fleet.close()


async def test_a_hello_lists_its_dongles_and_those_it_no_longer_lists_are_offline(parts: ServerParts) -> None:
    await connect(parts)
    listed, gone = parts.watch("can0"), parts.watch("can1")
    refused = await parts.fleet.hello(hello(dongle("can0"), dongle("other"), dongle("new")), "192.0.2.7")
    assert refused == ["other"], "van8 had it first"
    assert [one["clock_synchronised"] for one in listed.told("presence")][-1]
    assert states(gone.told("presence"))[-1] == (False, "unlisted")
    assert parts.fleet.dongle("other").agent_id == "van8"
    assert {one.dongle_id for one in parts.fleet.dongles_of("van7")} == {"can0", "can1", "new"}
    row = await agent_row(parts)
    assert (row.version, row.start_id, row.boot_id, row.remote) == ("1.2.3", START, "boot", "192.0.2.7")


@pytest.mark.parametrize(
    ("changes", "offset_ns"),
    [
        ({}, 95),
        ({"clock_synchronised": False}, None),
        ({"wall_ns": 2**63 - 1}, None),
        ({"monotonic_ns": 2**63}, None),
    ],
)
async def test_only_a_clock_that_can_be_believed_is_kept(
    parts: ServerParts, changes: dict[str, Any], offset_ns: int | None
) -> None:
    await parts.fleet.hello(hello(), "192.0.2.7")
    assert parts.fleet.right_clock("van7") is not None
    await parts.fleet.hello(hello(boot_id="x" * 99, **changes), "192.0.2.7")
    kept = parts.fleet.right_clock("van7")
    assert (kept and kept.offset_ns) == offset_ns
    assert kept is None or kept.boot_id == "x" * 64


async def test_a_heartbeat_tells_the_consoles_only_what_is_new(parts: ServerParts, time: Clock) -> None:
    console = parts.watch("can0")
    await parts.fleet.heartbeat("van7", clock_synchronised=False)
    assert [(one["reason"], one["clock_synchronised"]) for one in console.told("presence")] == [
        ("heartbeat", False)
    ]
    time.seconds += 10
    await parts.fleet.heartbeat("van7", clock_synchronised=False)
    assert console.told("presence") == []
    await parts.fleet.heartbeat("van7", clock_synchronised=True)
    assert [(one["online"], one["clock_synchronised"]) for one in console.told("presence")] == [(True, True)]
    row = await agent_row(parts)
    assert (row.clock_synchronised, row.last_seen_at_ns) == (True, clock.wall_ns())


async def test_a_log_goes_to_one_dongle_or_to_all_of_its_agent(parts: ServerParts) -> None:
    consoles = [parts.watch(one) for one in ("can0", "can1", "other")]
    line = {"level": "info", "source": "agent", "message": "hello", "details": {}}
    parts.fleet.log("van7", line, wall_ns=NOON_NS)
    told = [console.told("log") for console in consoles]
    assert [[one["ts"] for one in lines] for lines in told] == [["2025-12-22T12:00:00.000000Z"]] * 2 + [[]]
    parts.fleet.log("van7", line, dongle_id="can1")
    assert [[one["ts"] for one in console.told("log")] for console in consoles] == [
        [],
        [format_timestamp(clock.wall_ns() // 1000)],
        [],
    ]
    parts.fleet.log("van7", line, dongle_id="other")
    assert [console.told("log") for console in consoles] == [[]] * 3, "that is not one of its dongles"


async def test_a_sampling_limit_holds_once_it_is_stored(parts: ServerParts) -> None:
    await parts.fleet.set_sampling("can0", 50, "token:1", "192.0.2.7")
    assert parts.fleet.stream("can0").max_frames_per_second == 50
    with pytest.raises(ApiError, match="404 DONGLE_NOT_FOUND"):
        await parts.fleet.set_sampling("nobodys", 5, "token:1", "192.0.2.7")
    await parts.database.close()
    with pytest.raises(StorageError):
        await parts.fleet.set_sampling("can0", 5, "token:1", "192.0.2.7")
    assert parts.fleet.stream("can0").max_frames_per_second == 50


async def test_a_dongle_with_another_table_forgets_the_values_of_the_last(parts: ServerParts) -> None:
    await parts.fleet.devices("van7", [dongle("can0", signal_tables=[TABLE])], "192.0.2.7")
    parts.last_values.take_values("can0", values(1, 0), is_backlog=False)
    await parts.fleet.devices("van7", [], "192.0.2.7")
    assert len(parts.last_values.of("can0")) == 1, "a dongle that is unplugged keeps what it said"
    assert await parts.fleet.devices("van7", [dongle("can0", signal_tables=[OTHER_TABLE, TABLE])], "x") == []
    assert len(parts.last_values.of("can0")) == 0
    assert parts.hub.feed("can0").table_hash == OTHER_TABLE


async def test_an_unplugged_dongle_keeps_what_it_said_last_also_over_a_restart(parts: ServerParts) -> None:
    await parts.fleet.devices("van7", [dongle("can0", signal_tables=[TABLE])], "192.0.2.7")
    parts.last_values.take_values("can0", values(1, 0, table_hash=OTHER_TABLE), is_backlog=False)
    await parts.last_values.store()
    await parts.recorder.close()
    again = await ServerParts(parts.database, parts.recording).start()
    await again.fleet.devices("van7", [], "192.0.2.7")
    assert len(again.last_values.of("can0")) == 1
    await again.fleet.devices("van7", [dongle("can0", signal_tables=[TABLE])], "192.0.2.7")
    assert len(again.last_values.of("can0")) == 0, "they were of another table"
    await again.recorder.close()
