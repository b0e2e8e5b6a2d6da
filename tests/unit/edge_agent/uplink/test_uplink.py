"""The uplink goes on, whatever breaks below it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from pytest_mock import MockerFixture
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from edge_agent.errors import UplinkError
from edge_agent.host.backoff import Backoff, BackoffPolicy
from edge_agent.host.clock import Clock
from edge_agent.uplink.connection import Answers
from edge_agent.uplink.credentials import write_token
from edge_agent.uplink.hello import hello_of, new_start_id
from edge_agent.uplink.lost import LostError
from edge_agent.uplink.state import UplinkPhase, UplinkState
from edge_agent.uplink.uplink import MAX_GIVEN_UP, Uplink
from tests.helpers.uplink_server import listening, streaming


@pytest.mark.parametrize(
    "failure",
    [
        AttributeError("'NoneType' object has no attribute 'call_soon'"),
        RuntimeError("unable to perform operation"),
    ],
)
async def test_a_fault_of_a_library_costs_one_connection(failure: Exception, mocker: MockerFixture) -> None:
    opened = mocker.patch("edge_agent.uplink.opening.StraightConnect", side_effect=failure)
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


SAID = b'{"code":"UNAUTHENTICATED","message":"it is void","details":{}}'
REFUSED = InvalidStatus(Response(401, "Unauthorized", Headers(), SAID))
UNREACHABLE = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")


@contextlib.asynccontextmanager
async def running(failure: Exception, mocker: MockerFixture) -> AsyncIterator[Uplink]:
    """An uplink whose first attempt has failed so, and which waits for its next one."""
    mocker.patch("edge_agent.uplink.opening.StraightConnect", side_effect=failure)
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
        with pytest.raises(UplinkError, match=r"enrol it again with `edge-agent enroll [^`]*`$"):
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
        assert "cannot be reached (Connection refused): check the port" in uplink.state.message
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


# -- what makes another attempt worth while


@contextlib.asynccontextmanager
async def trying(
    mocker: MockerFixture, attempts: list[Exception | None], *, token_files: Sequence[Path] = ()
) -> AsyncIterator[tuple[Uplink, asyncio.Semaphore]]:
    """An uplink whose attempts fail so, one after the other; None hangs. It waits for minutes in between."""
    began = asyncio.Semaphore(0)

    async def open_door(*_: object) -> None:
        began.release()
        failure = attempts.pop(0)
        if failure is None:
            await asyncio.Event().wait()
        assert failure is not None
        raise failure

    mocker.patch("edge_agent.uplink.opening.ServerDoor.open", side_effect=open_door)
    mocker.patch("edge_agent.uplink.uplink.LEAST_ATTEMPT_SECONDS", 0.01)
    mocker.patch("edge_agent.uplink.uplink.LOOK_SECONDS", 0.01)
    clock, start_id = Clock(), new_start_id()
    backoff = Backoff(BackoffPolicy(base_seconds=600.0, cap_seconds=600.0), uniform=lambda: 1.0)
    uplink = Uplink(
        "http://127.0.0.1:1",
        "first",
        Answers(lambda: hello_of("van7", start_id, [], clock)),
        [],
        clock=clock,
        token_files=token_files,
        backoff=backoff,
    )
    tasks = [asyncio.create_task(uplink.run()), asyncio.create_task(uplink.keep_keys())]
    try:
        async with asyncio.timeout(20):
            await began.acquire()
            yield uplink, began
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


LOST = LostError("it is lost")
TURNED_AWAY = LostError("it is refused", fault="refused")


async def failed(uplink: Uplink) -> None:
    while not uplink.state.failed:
        await uplink.progress.wait()
        uplink.progress.clear()


async def test_another_network_is_tried_at_once(mocker: MockerFixture) -> None:
    async with trying(mocker, [LOST, LOST, LOST]) as (uplink, began):
        await failed(uplink)
        for _ in range(2):
            uplink.network_changed()
            await began.acquire()


async def test_another_network_does_not_change_a_refusal(mocker: MockerFixture) -> None:
    async with trying(mocker, [TURNED_AWAY]) as (uplink, began):
        await failed(uplink)
        uplink.network_changed()
        await asyncio.sleep(0)
        assert uplink.state.refused
        assert began.locked()


async def test_an_attempt_that_hangs_is_given_up_for_another_network(mocker: MockerFixture) -> None:
    async with trying(mocker, [None, LOST]) as (uplink, began):
        uplink.network_changed()
        await began.acquire()
        await failed(uplink)


async def test_a_network_that_changes_all_the_time_leaves_an_attempt_its_time(mocker: MockerFixture) -> None:
    async with trying(mocker, [None] * (MAX_GIVEN_UP + 1)) as (uplink, began):
        for _ in range(MAX_GIVEN_UP):
            uplink.network_changed()
            await began.acquire()
        uplink.network_changed()
        await asyncio.sleep(0.05)
        assert began.locked()


async def test_another_token_ends_the_wait_after_a_refusal(mocker: MockerFixture, tmp_path: Path) -> None:
    path = tmp_path / "token"
    write_token(path, "cea_agent_first")
    async with trying(mocker, [TURNED_AWAY, LOST], token_files=[path]) as (uplink, began):
        await failed(uplink)
        write_token(path, "cea_agent_second")
        await began.acquire()


async def test_a_person_can_have_it_tried_at_once(mocker: MockerFixture) -> None:
    async with trying(mocker, [TURNED_AWAY, LOST]) as (uplink, began):
        await failed(uplink)
        uplink.look_at_keys(try_again=True)
        await began.acquire()


async def test_a_connection_that_is_dead_after_a_change_is_given_up_soon(mocker: MockerFixture) -> None:
    mocker.patch("edge_agent.uplink.connection.STILL_THERE_SECONDS", 0.05)
    clock, start_id, states = Clock(), new_start_id(), list[str]()
    async with listening() as server:
        answers = Answers(
            lambda: hello_of("van7", start_id, [], clock), on_state=lambda state: states.append(state.message)
        )
        uplink = Uplink(server.url, "first", answers, [], clock=clock)
        async with streaming(uplink):
            uplink.network_changed()
            await asyncio.sleep(0.1)
            assert uplink.state.connected, "it answers"
            mocker.patch("websockets.asyncio.client.ClientConnection.ping", side_effect=_no_pong)
            uplink.network_changed()
            await uplink.until(lambda: not uplink.state.connected)
            mocker.stopall()
            await uplink.until(lambda: uplink.state.connected)
    assert "the network has changed, and no answer comes any more" in states[1]


async def _no_pong() -> asyncio.Future[float]:
    return asyncio.get_running_loop().create_future()
