"""Who comes in a crowd is let in by turns, and holds up nobody but those like it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from typing import Final

import pytest

from stream_server.config import LimitsSection
from stream_server.http.arrivals import LET_IN_AT_ONCE, TAKEN_AT_ONCE, Arrivals
from stream_server.http.front import Front
from stream_server.metrics import Metrics

ASKS: Final = b"GET /healthz HTTP/1.1\r\n"
BRINGS: Final = b"POST /api/v1/agents/register HTTP/1.1\r\n"


class _Ended(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class Door:
    """A socket that listens, the arrivals behind it, and what those had said that were let in."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.listening = self._stack.enter_context(socket.create_server(("", 0), backlog=1000))
        self.listening.setblocking(False)
        self.limits = LimitsSection()
        self.front = Front(self.limits, Metrics(), 1000)
        self.said: list[bytes] = []
        self.arrivals = Arrivals(self.front, self._made)

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self.arrivals.close()
        self._stack.close()

    def comes(self, says: bytes, address: str = "127.0.0.1", times: int = 1) -> list[socket.socket]:
        """So many of them connect, and wait there."""
        port = self.listening.getsockname()[1]
        clients = [
            socket.create_connection(("127.0.0.1", port), source_address=(address, 0)) for _ in range(times)
        ]
        for client in clients:
            self._stack.enter_context(client)
            client.sendall(says)
        return clients

    async def each_turn(self) -> AsyncIterator[int]:
        """How many have been let in after each of some turns of the loop."""
        for _ in range(50):
            await asyncio.sleep(0)
            yield len(self.said)

    async def turns(self) -> None:
        """Some turns of the loop."""
        async for _ in self.each_turn():
            pass

    def _made(self, first: bytes, _since: float) -> asyncio.Protocol:
        self.said.append(first)
        return _Ended()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    with Door() as opened:
        yield opened


async def test_who_asks_does_not_wait_behind_a_crowd_that_brings_something(door: Door) -> None:
    door.comes(BRINGS, times=100)
    door.comes(ASKS)
    door.arrivals.take_in(door.listening)
    await door.turns()
    assert len(door.said) == 101
    assert door.said.index(ASKS) <= LET_IN_AT_ONCE


async def test_each_address_has_its_turn(door: Door) -> None:
    door.comes(ASKS, "127.0.0.2", times=100)
    door.comes(ASKS + b"honest", "127.0.0.3", times=2)
    door.arrivals.take_in(door.listening)
    await door.turns()
    assert len(door.said) == 102
    late = [place for place, said in enumerate(door.said) if said.endswith(b"honest")]
    assert late[-1] <= LET_IN_AT_ONCE + 3


async def test_a_turn_of_the_loop_lets_in_only_so_many(door: Door) -> None:
    door.comes(ASKS, times=100)
    door.arrivals.take_in(door.listening)
    counts = [0, *[count async for count in door.each_turn()]]
    assert counts[-1] == 100
    assert max(after - before for before, after in itertools.pairwise(counts)) <= LET_IN_AT_ONCE


async def test_who_says_nothing_is_only_a_socket_until_its_time_is_over(door: Door) -> None:
    silent, *_others = door.comes(b"", times=3)
    gone, late = door.comes(b""), door.comes(b"")
    door.arrivals.take_in(door.listening)
    gone[0].close()
    late[0].sendall(ASKS)
    await door.turns()
    assert (door.said, len(door.front.connections)) == ([ASKS], 3)
    now = asyncio.get_running_loop().time()
    assert {one.overdue(now, door.limits) for one in door.front.connections} == {None}
    assert {one.overdue(now + 11, door.limits) for one in door.front.connections} == {"head"}
    door.arrivals.close()
    assert not len(door.front.connections)
    assert silent.recv(1) == b""


async def test_the_time_that_somebody_waits_for_us_is_not_on_their_clock(door: Door) -> None:
    door.comes(ASKS, times=LET_IN_AT_ONCE + 1)
    door.arrivals.take_in(door.listening)
    (waiting,) = door.front.connections
    assert waiting.overdue(asyncio.get_running_loop().time() + 60, door.limits) is None


async def test_who_lost_its_place_while_it_waited_is_not_let_in(door: Door) -> None:
    door.comes(ASKS, times=LET_IN_AT_ONCE + 2)
    door.arrivals.take_in(door.listening)
    loses, _keeps = door.front.connections
    door.front.closed(loses)
    loses.abort()
    await door.turns()
    assert len(door.said) == LET_IN_AT_ONCE + 1


async def test_a_crowd_is_taken_in_over_several_turns(door: Door) -> None:
    door.comes(b"", times=TAKEN_AT_ONCE + 2)
    door.arrivals.take_in(door.listening)
    assert len(door.front.connections) == TAKEN_AT_ONCE
    door.arrivals.take_in(door.listening)
    assert len(door.front.connections) == TAKEN_AT_ONCE + 2
