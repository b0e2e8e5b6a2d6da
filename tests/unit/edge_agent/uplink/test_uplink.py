"""The uplink goes on, whatever breaks below it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
from collections.abc import AsyncIterator

import pytest
from pytest_mock import MockerFixture
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from edge_agent.errors import UplinkError
from edge_agent.host.backoff import Backoff, BackoffPolicy
from edge_agent.host.clock import Clock
from edge_agent.uplink.connection import Answers
from edge_agent.uplink.hello import hello_of, new_start_id
from edge_agent.uplink.state import UplinkPhase, UplinkState
from edge_agent.uplink.uplink import Uplink


@pytest.mark.parametrize(
    "failure",
    [
        AttributeError("'NoneType' object has no attribute 'call_soon'"),
        RuntimeError("unable to perform operation"),
    ],
)
async def test_a_fault_of_a_library_costs_one_connection(failure: Exception, mocker: MockerFixture) -> None:
    opened = mocker.patch("edge_agent.uplink.opening.connect", side_effect=failure)
    clock, start_id, states = Clock(), new_start_id(), list[UplinkState]()
    third = asyncio.Event()

    def heard(state: UplinkState) -> None:
        states.append(state)
        if len(states) == 3:
            third.set()

    uplink = Uplink(
        "http://127.0.0.1:1",
        "cea_agent_secret",
        Answers(lambda: hello_of("van7", start_id, [], clock), on_state=heard),
        [],
        clock=clock,
        backoff=Backoff(BackoffPolicy(base_seconds=0.001), random.random),
    )
    running = asyncio.create_task(uplink.run())
    async with asyncio.timeout(10):
        await third.wait()
    assert not running.done()
    running.cancel()
    assert opened.call_count >= 3
    assert all(str(failure) in state.message for state in states)
    assert not any("cea_agent_secret" in state.message for state in states)


REFUSED = InvalidStatus(Response(401, "Unauthorized", Headers()))
UNREACHABLE = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")


@contextlib.asynccontextmanager
async def running(failure: Exception, mocker: MockerFixture) -> AsyncIterator[Uplink]:
    """An uplink whose first attempt has failed so, and which waits for its next one."""
    mocker.patch("edge_agent.uplink.opening.connect", side_effect=failure)
    clock, start_id = Clock(), new_start_id()
    answers = Answers(lambda: hello_of("van7", start_id, [], clock))
    policy = BackoffPolicy(base_seconds=600.0, cap_seconds=600.0)
    backoff = Backoff(policy, uniform=lambda: 1.0)
    uplink = Uplink("http://127.0.0.1:1", "cea_agent_secret", answers, [], clock=clock, backoff=backoff)
    task = asyncio.create_task(uplink.run())
    try:
        async with asyncio.timeout(10):
            await uplink.progress.wait()
            yield uplink
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_who_waits_for_acks_is_told_of_a_refusal_and_what_to_do(mocker: MockerFixture) -> None:
    async with running(REFUSED, mocker) as uplink:
        with pytest.raises(UplinkError, match="enrol it again with `edge-agent enroll`; next attempt in 300"):
            await uplink.until(lambda: False)
        assert uplink.counts.refusals == 1


async def test_new_lanes_do_not_hide_that_the_server_refuses(mocker: MockerFixture) -> None:
    async with running(REFUSED, mocker) as uplink:
        uplink.reconnect()
        assert uplink.state.refused
        with pytest.raises(UplinkError, match="refuses this agent's token"):
            await uplink.until(lambda: False)
        assert uplink.counts.refusals == 1


async def test_who_waits_for_acks_goes_on_waiting_while_the_server_is_away(mocker: MockerFixture) -> None:
    async with running(UNREACHABLE, mocker) as uplink:
        assert "cannot be reached (Connection refused); next attempt in 600.0 s" in uplink.state.message
        looks = asyncio.Semaphore(0)
        is_done = asyncio.Event()

        def done() -> bool:
            looks.release()
            return is_done.is_set()

        waiting = asyncio.create_task(uplink.until(done))
        await looks.acquire()
        uplink.progress.set()  # something has come, but not what is waited for
        await looks.acquire()
        assert not waiting.done()
        is_done.set()
        uplink.progress.set()
        await waiting


async def test_before_the_first_attempt_new_lanes_are_said() -> None:
    said: list[UplinkState] = []
    clock, start_id = Clock(), new_start_id()
    answers = Answers(lambda: hello_of("van7", start_id, [], clock), on_state=said.append)
    uplink = Uplink("http://127.0.0.1:1", "cea_agent_secret", answers, [], clock=clock)
    assert uplink.state == UplinkState(UplinkPhase.CONNECTING, "connecting to http://127.0.0.1:1")
    uplink.reconnect()
    assert said == [uplink.state] == [UplinkState(UplinkPhase.GREETING, "greeting the server again")]
    assert uplink.server_offset_ns is None
