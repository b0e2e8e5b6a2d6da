"""The connection /ws/relay against a server in the same loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.protocol.control import Error
from can_stream.protocol.relay_control import (
    Credit,
    Cursor,
    RelayHello,
    RelayPing,
    RelayPong,
    Totals,
)
from edge_agent.host.clock import Clock
from edge_agent.relay.downlink import connection
from edge_agent.relay.downlink.connection import Downlink
from edge_agent.relay.sink import Sink
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.keys import Keys
from edge_agent.uplink.opening import ServerDoor
from edge_agent.uplink.patience import MOST_FRAMES
from tests.helpers.conditions import running, soon
from tests.helpers.recording_sink import RecordingSink
from tests.helpers.relay_server import START, RelayServer
from tests.helpers.uplink_server import serving

LEASE_SECONDS = 0.5


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attempt follows soon."""
    monkeypatch.setattr("edge_agent.relay.downlink.connection.random.random", lambda: 0.01)


def frames(count: int, width: int = 8) -> FrameBatch:
    return FrameBatch(
        np.arange(count, dtype=np.int64),
        np.arange(count, dtype=np.uint32) % 0x7FF,
        np.full(count, FrameFlag.FD if width > 8 else 0, np.uint8),
        np.full(count, width, np.uint8),
        np.random.default_rng(1).integers(0, 256, (count, width), np.uint8),
    )


class Ends:
    def __init__(self, server: RelayServer) -> None:
        self.server, self.sink = server, RecordingSink("van-a")
        self.may_connect = True
        self.states: list[str] = []
        self.downlink = Downlink(
            ServerDoor(server.url, Keys("token"), UplinkCounts()),
            START,
            cast(dict[str, Sink], {"van-a": self.sink}),
            LEASE_SECONDS,
            Clock(),
            lambda: self.may_connect,
            on_state=lambda state: self.states.append(state.message),
        )

    async def until(self, kind: str, count: int = 1) -> list[Any]:
        await soon(lambda: len(self.sink.of(kind)) >= count, kind)
        return self.sink.of(kind)


@asynccontextmanager
async def ends() -> AsyncIterator[Ends]:
    server = RelayServer()
    async with serving(server):
        both = Ends(server)
        async with running(both.downlink.run()):
            yield both


async def test_items_come_and_what_became_of_them_goes_back() -> None:
    async with ends() as both:
        await both.until("leased", 2)
        assert (await both.server.until_relay_says(Credit))[0].frames == both.sink.credit
        await both.server.hand_frames(frames(3), 0)
        ((start_id, position, batch, born_ns, fresh, now_ns, *_),) = await both.until("item")
        assert (start_id, position, len(batch), fresh) == (START, 0, 3, True)
        assert 0 <= now_ns - born_ns < 2e9
        both.sink.cursors = [Cursor("truck-c", START, 3, Totals(sent=3))]
        both.downlink.reports_wait()
        assert (await both.server.until_settled(3)).totals == Totals(sent=3)
        assert both.states == ["connected"]


async def test_pings_go_four_times_in_a_lease_whether_they_are_answered_or_not() -> None:
    async with ends() as both:
        both.server.answers = False
        begin = asyncio.get_running_loop().time()
        await both.server.until_relay_says(RelayPing, 9)
        assert asyncio.get_running_loop().time() - begin >= 7 * LEASE_SECONDS / 4


async def test_a_packet_as_long_as_one_may_be_comes_and_so_do_very_many() -> None:
    """The other connections take 256 KiB and 200 messages of a server that was sent nothing."""
    async with ends() as both:
        await both.until("directed")
        await both.server.hand_frames(frames(8_000, 64), 0)
        for number in range(MOST_FRAMES * 5):
            await both.server.hand_frames(frames(1), 8_000 + number)
        items = await both.until("item", 1 + MOST_FRAMES * 5)
        assert len(items[0][2]) == 8_000
        assert both.server.opened == 1


@pytest.mark.parametrize("content", ["{", "[]", b"\xff\xff\xff", b""])
async def test_malformed_messages_are_refused_counted_and_the_next_connection_works(
    content: str | bytes,
) -> None:
    async with ends() as both:
        await both.until("directed")
        await both.server.say_to_sink(content)
        await both.server.closed.until(1)
        assert both.server.closed == [1007]
        assert both.downlink.malformed == 1
        await both.until("directed", 2)
        assert len(both.sink.of("disconnected")) == 1
        await both.server.hand_frames(frames(2), 0)
        assert len(await both.until("item")) == 1


async def test_a_forged_pong_is_no_lease() -> None:
    async with ends() as both:
        both.server.answers = False
        await both.server.until_relay_says(RelayPing)
        await both.server.say_to_sink(RelayPong(10_000, both.server.activations))
        await both.server.hand_frames(frames(1), 0)
        await both.until("item")
        assert both.sink.of("leased") == []


async def test_silence_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.3)
    async with ends() as both:
        both.server.answers = False
        await both.server.until_relay_says(RelayHello, 2)
        assert "no answer to a ping" in both.states[1]
        both.server.answers = True
        await both.until("leased")


async def test_an_error_of_the_server_is_said() -> None:
    async with ends() as both:
        await both.until("directed")
        await both.server.say_to_sink(Error("NOT_ALLOWED", "this agent has no sinks"))
        await both.server.closed.until(1)
        await soon(lambda: "this agent has no sinks" in "".join(both.states), "the error is told")


async def test_it_is_not_tried_where_the_server_cannot_be_reached_anyway() -> None:
    server = RelayServer()
    async with serving(server):
        both = Ends(server)
        both.may_connect = False
        async with running(both.downlink.run()):
            await asyncio.sleep(0.5)
            assert server.opened == 0
            both.may_connect = True
            await both.until("directed")


async def test_an_old_server_is_told_to_be_too_old() -> None:
    server = RelayServer()
    server.version = 1
    async with serving(server):
        both = Ends(server)
        async with running(both.downlink.run()):
            await soon(lambda: both.states, "it is said")
        assert "too old for the relay" in both.states[0]
    assert both.sink.of("directed") == []
