"""The fan-out and its failures: streams, storage and clients that go wrong and must not stop the others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import pytest

from stream_server import clock
from stream_server.sse import fanout as module
from stream_server.sse.fanout import FanOut, FanOutSettings, Subscriber
from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.hub import StreamHub
from tests.helpers.sse_streams import Event, parse_events

FAST: Final = FanOutSettings(tick_seconds=0.01)


@dataclass
class Client:
    """One end of a connection whose other end is a subscriber's."""

    subscriber: Subscriber
    transport: asyncio.Transport
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: bytes = b""

    async def events(self, wanted: Callable[[list[Event]], bool]) -> list[Event]:
        async with asyncio.timeout(10):
            while not wanted(found := parse_events(self.received[: self.received.rfind(b"\n\n") + 2])):
                self.received += await self.reader.read(65536)
        return found

    async def numbers(self, count: int) -> list[int]:
        """What `emit` gave, once there is so much."""
        found = await self.events(lambda events: len([e for e in events if e.event == "log"]) >= count)
        return [event.payload["number"] for event in found if event.event == "log"]


class Console:
    """A hub and its fan-out. `refusals`: what storing the next reservations fails with."""

    def __init__(self) -> None:
        self.hub = StreamHub(IdSource(clock.now().wall_us), StreamLimits())
        self.stored: list[int] = []
        self.refusals: list[Exception] = []
        self.was_stored = asyncio.Event()
        self.fanout = FanOut(self.hub, self.store, FAST)
        self._clients: list[Client] = []

    async def store(self, value: int) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.stored.append(value)
        self.was_stored.set()

    def emit(self, dongle_id: str, number: int) -> int:
        return self.hub.get(dongle_id).emit("log", {"number": number}, clock.now())

    async def client(self, dongle_id: str, last_event_id: str | None = None) -> Client:
        return await self.client_of(self.hub.get(dongle_id), last_event_id)

    async def client_of(self, stream: ConsoleStream, last_event_id: str | None = None) -> Client:
        ours, theirs = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        subscriber = self.fanout.subscribe(
            stream,
            transport,
            chunked=False,
            opening=b"retry: 1\n\n",
            last_event_id=last_event_id,
            history_seconds=0,
        )
        self._clients.append(Client(subscriber, transport, reader, writer))
        return self._clients[-1]

    async def close(self) -> None:
        await self.fanout.close()
        for client in self._clients:
            client.transport.abort()
            client.writer.close()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    made = Console()
    yield made
    await made.close()


async def test_a_stream_that_fails_at_a_beat_stops_no_other_and_goes_on_when_it_can(
    console: Console, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING_SECONDS", 0.05)
    await console.fanout.start()
    broken, other = await console.client("broken"), await console.client("other")

    def fail(_now: object) -> None:
        raise ValueError("this stream")

    with monkeypatch.context() as patch:
        patch.setattr(console.hub.get("broken"), "tick", fail)
        console.emit("broken", 1)
        console.emit("other", 2)
        assert await other.numbers(1) == [2]
        console.emit("other", 3)
        assert await other.numbers(2) == [2, 3]
    assert await broken.numbers(1) == [1]
    assert "the stream of dongle broken failed at a beat" in caplog.text
    assert "dongle other" not in caplog.text


async def test_nothing_begins_where_the_first_reservation_is_refused(console: Console) -> None:
    console.refusals.append(OSError("disk full"))
    with pytest.raises(OSError, match="disk full"):
        await console.fanout.start()
    assert console.stored == []


async def test_ids_go_on_while_a_reservation_cannot_be_stored_and_stay_below_what_is_stored(
    console: Console, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_HOUSEKEEPING_SECONDS", 0.01)
    await console.fanout.start()
    console.was_stored.clear()
    later_ns = clock.wall_ns() + 200 * 1_000_000_000
    console.refusals.append(OSError("disk full"))
    monkeypatch.setattr(clock, "wall_ns", lambda: later_ns)
    first = console.emit("can0", 1)
    async with asyncio.timeout(10):
        await console.was_stored.wait()
    second = console.emit("can0", 2)
    assert "the reservation of event ids could not be stored" in caplog.text
    assert first < second < console.stored[-1]
    assert first < console.stored[0] < console.stored[1]


async def test_a_stream_is_watched_until_the_last_of_its_audience_goes(console: Console) -> None:
    await console.fanout.start()
    stream = console.hub.get("can0")
    one, other = await console.client("can0"), await console.client("can0")
    console.fanout.unsubscribe(one.subscriber)
    console.fanout.unsubscribe(one.subscriber)
    assert (stream.watched, console.fanout.subscribers) == (True, 1)
    console.fanout.unsubscribe(other.subscriber)
    assert (stream.watched, console.fanout.subscribers) == (False, 0)
    assert one.subscriber.done.is_set()
    assert other.subscriber.done.is_set()


async def test_a_client_whose_connection_is_closing_is_forgotten_and_the_others_are_served(
    console: Console,
) -> None:
    await console.fanout.start()
    gone, stays = await console.client("can0"), await console.client("can0")
    gone.transport.close()
    console.emit("can0", 1)
    assert await stays.numbers(1) == [1]
    assert gone.subscriber.done.is_set()
    assert console.fanout.subscribers == 1


async def test_whoever_comes_while_the_server_stops_gets_the_state_and_the_end(console: Console) -> None:
    await console.fanout.start()
    await console.fanout.close()
    late = await console.client("can0")
    assert late.subscriber.done.is_set()
    assert [event.event for event in await late.events(lambda events: len(events) > 0)] == ["presence"]
    assert late.received.startswith(b"retry: 1\n\n")
    assert console.fanout.subscribers == 0


async def test_a_client_that_resumes_gets_what_it_missed_and_one_that_asks_nonsense_is_reset(
    console: Console,
) -> None:
    await console.fanout.start()
    ids = [console.emit("can0", number) for number in (1, 2, 3)]
    resumed = await console.client("can0", str(ids[0]))
    assert await resumed.numbers(2) == [2, 3]
    lost = await console.client("can0", "nonsense")
    (reset, state) = await lost.events(lambda events: len(events) == 2)
    assert (reset.event, reset.payload["reason"], state.event) == ("stream_reset", "unknown", "presence")


async def test_a_stream_that_ends_gives_what_there_is_and_lets_nobody_wait(console: Console) -> None:
    await console.fanout.start()
    stream = console.hub.add_group("bridge", ("can0", "can1"), lambda _presences: {}, clock.now())
    client, other = await console.client_of(stream), await console.client("can0")
    stream.emit("log", {"number": 1}, clock.now())
    console.hub.remove_group("bridge")
    async with asyncio.timeout(10):
        await client.subscriber.done.wait()
    assert await client.numbers(1) == [1]
    late = await console.client_of(stream)
    assert late.subscriber.done.is_set(), "whoever had asked for it just before it ended"
    console.emit("can0", 2)
    assert await other.numbers(1) == [2]
    assert not other.subscriber.done.is_set()
    assert console.fanout.subscribers == 1
