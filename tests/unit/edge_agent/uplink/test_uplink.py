"""The uplink goes on, whatever breaks below it."""

from __future__ import annotations

import asyncio

import pytest
from pytest_mock import MockerFixture

from edge_agent.host.backoff import Backoff, BackoffPolicy
from edge_agent.host.clock import Clock
from edge_agent.uplink.connection import Answers
from edge_agent.uplink.hello import hello_of, new_start_id
from edge_agent.uplink.state import UplinkState
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
        backoff=Backoff(BackoffPolicy(base_seconds=0.001)),
    )
    running = asyncio.create_task(uplink.run())
    async with asyncio.timeout(10):
        await third.wait()
    assert not running.done()
    running.cancel()
    assert opened.call_count >= 3
    assert all(str(failure) in state.message for state in states)
    assert not any("cea_agent_secret" in state.message for state in states)
