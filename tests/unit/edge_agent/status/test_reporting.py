"""What the server is told of the services, and when; what is told to who asks on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from pytest_mock import MockerFixture

from can_stream.frames.batches import batch_of
from can_stream.protocol.control import (
    MAX_CONTROL_MESSAGE_BYTES,
    Status,
    encode_control_message,
)
from edge_agent.budget.budget import Budget
from edge_agent.bus.source import Dropped
from edge_agent.config.sections import SpoolSection
from edge_agent.dongles.dongle import Dongle
from edge_agent.state import State, StatusCode
from edge_agent.status import reporting
from edge_agent.status.document import encode_status
from tests.helpers.agent_parts import (
    TOKEN,
    AgentParts,
    StandingClock,
    databases,
    log_section,
    put_frames,
    slcan_section,
)
from tests.helpers.conditions import running
from tests.helpers.uplink_server import listening, streaming

GONE = State(StatusCode.FAILED, "it is gone: plug it in", "unplugged")


@pytest.fixture(autouse=True)
def _at_once(mocker: MockerFixture) -> None:
    mocker.patch.object(reporting, "CHANGE_SECONDS", 0.0)


@asynccontextmanager
async def reported(parts: AgentParts) -> AsyncIterator[None]:
    """An agent that is heard and reports."""
    async with running(parts.reporter.run()), streaming(parts.uplink):
        yield


def told(messages: list[Status]) -> list[list[str]]:
    """Which services each names."""
    return [[one.agent_service_id for one in message.services] for message in messages]


def read(dongle: Dongle, count: int) -> None:
    """Its reader has so many frames."""
    dongle.reader._queue.put(batch_of([(number, 1, 0, 0, b"") for number in range(count)]))


# -- to the server


async def test_at_a_connection_all_are_told_and_then_what_changes_alone() -> None:
    async with listening() as server:
        parts = AgentParts([log_section("van7-a"), log_section("van7-b")], server.url)
        a, b = parts.dongles
        async with reported(parts):
            await server.until_said(Status, 1)
            b.bus.take_source(GONE)
            await server.until_said(Status, 2)
            a.bus.take_source(GONE)
            messages = await server.until_said(Status, 3)
    assert told(messages) == [["agent", "uplink", "bus.van7-a", "bus.van7-b"], ["bus.van7-b"], ["bus.van7-a"]]


async def test_what_stands_as_it_was_told_is_not_told_again_whatever_is_counted() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        (dongle,) = parts.dongles
        async with reported(parts):
            await server.until_said(Status, 1)
            for _ in range(3):
                put_frames(dongle, 10)
                parts.reporter.changed()
                await asyncio.sleep(0.01)
            dongle.bus.take_source(GONE)
            messages = await server.until_said(Status, 2)
    assert told(messages)[1:] == [["bus.van7-log"]]


async def test_of_a_bus_that_flaps_between_two_looks_the_last_is_told() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        (dongle,) = parts.dongles
        async with reported(parts):
            await server.until_said(Status, 1)
            for number in range(10):
                dongle.bus.take_source(State(StatusCode.DEGRADED, f"look {number}"))
            await server.until_said(Status, 2)
            dongle.bus.take_source(State(StatusCode.DEGRADED, "look again"))
            _, second, third = await server.until_said(Status, 3)
    assert [one.message for one in (*second.services, *third.services)] == ["look 9", "look again"]


async def test_changes_are_not_told_more_often_than_four_times_a_second(mocker: MockerFixture) -> None:
    mocker.patch.object(reporting, "CHANGE_SECONDS", 600.0)
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        async with reported(parts):
            await server.until_said(Status, 1)
            parts.dongles[0].bus.take_source(GONE)
            for _ in range(20):
                await asyncio.sleep(0)
            parts.announcer.heartbeat()
            _, second = await server.until_said(Status, 2)
    assert len(second.services) == 3, "the heartbeat's, which waits for nothing"


async def test_what_changed_while_nobody_heard_it_is_told_with_the_rest_and_once() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        (dongle,) = parts.dongles
        async with running(parts.reporter.run()):
            for number in range(5):
                dongle.bus.take_source(State(StatusCode.FAILED, f"look {number}"))
                await asyncio.sleep(0.01)
            async with streaming(parts.uplink):
                (message,) = await server.until_said(Status, 1)
    assert [one.message for one in message.services if one.service_type == "bus"] == ["look 4"]
    assert len(message.services) == 3


async def test_what_a_heartbeat_told_is_no_change_any_more() -> None:
    async with listening() as server:
        parts = AgentParts([log_section("van7-a"), log_section("van7-b")], server.url)
        async with streaming(parts.uplink):
            parts.dongles[0].bus.take_source(GONE)
            parts.reporter.tell_all()
            async with running(parts.reporter.run()):
                parts.dongles[1].bus.take_source(GONE)
                messages = await server.until_said(Status, 2)
    assert told(messages)[1:] == [["bus.van7-b"]]


async def test_every_connection_hears_all_of_it() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        async with reported(parts):
            await server.until_said(Status, 1)
            parts.uplink.reconnect()
            messages = await server.until_said(Status, 2)
    assert told(messages) == [["agent", "uplink", "bus.van7-log"]] * 2


async def test_a_spool_and_decoders_are_services_where_there_are_any(tmp_path: Path) -> None:
    parts = AgentParts(
        [slcan_section("/dev/none", "van7-a"), slcan_section("/dev/none2", "van7-b")],
        spool=SpoolSection(str(tmp_path)),
        budget=Budget(1000),
    )
    parts.announcer.databases_loaded(parts.dongles[1], databases())
    assert [one.agent_service_id for one in parts.reporter.services()] == [
        "agent",
        "uplink",
        "spool",
        "bus.van7-a",
        "bus.van7-b",
        "decoder.van7-b",
    ]
    assert {one.service_id for one in parts.reporter.services()} >= {"van7/agent", "van7/bus.van7-a"}


async def test_the_most_that_an_agent_can_say_fits_into_a_message() -> None:
    parts = AgentParts([log_section(f"van7-{number:02}-{'x' * 55}") for number in range(64)])
    for dongle in parts.dongles:
        parts.announcer.databases_loaded(dongle, databases())
        dongle.bus.take_source(State(StatusCode.FAILED, "x" * 500, "unplugged"))
    message = encode_control_message(Status(parts.reporter.services()))
    assert len(message) < MAX_CONTROL_MESSAGE_BYTES


# -- to who asks here


async def test_the_document_says_how_each_dongle_stands() -> None:
    clock = StandingClock()
    parts = AgentParts([log_section("van7-a"), log_section("van7-b")], clock=clock)
    a, b = parts.dongles
    b.bus.take_source(GONE)
    read(a, 50)
    clock.seconds += 5
    status = parts.reporter.snapshot()
    clock.seconds += 4
    later = parts.reporter.snapshot()
    first, second = status.dongles
    assert (first.dongle_id, first.channel, first.fault) == ("van7-a", "drive.log", "")
    assert (first.frames_per_second, first.seconds_since_frame) == (10.0, 0.0)
    assert (second.fault, second.frames_per_second, second.seconds_since_frame) == ("unplugged", 0.0, None)
    assert (later.dongles[0].frames_per_second, later.dongles[0].seconds_since_frame) == (5.6, 4.0)
    assert (first.frames.taken, first.frames.hops["waiting"]) == (50, 50)
    assert first.values is None
    assert (status.uptime_seconds, later.uptime_seconds) == (5.0, 9.0)
    assert status.ts == "2025-12-22T15:31:02.000000Z"
    assert status.clock_synchronised
    bus = status.service("bus.van7-b")
    assert bus is not None
    assert (bus.status, bus.message) == ("FAILED", GONE.message)


async def test_the_document_has_the_books_of_values_where_there_is_a_decoder() -> None:
    parts = AgentParts([log_section()])
    (dongle,) = parts.dongles
    parts.announcer.databases_loaded(dongle, databases())
    dongle.pipeline.take_loss(Dropped(None, 1, 2))
    (said,) = parts.reporter.snapshot().dongles
    assert said.values is not None
    assert said.values.sentence == "0 lost of 0 values"
    assert said.frames.uncounted_losses == 1
    assert "once the adapter lost some" in said.frames.sentence


async def test_no_secret_is_in_it() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        async with streaming(parts.uplink):
            document = encode_status(parts.reporter.snapshot())
    assert TOKEN.encode() not in document
    assert b"/home/me" not in document
    assert msgspec.json.decode(document)["server_url"] == server.url


@pytest.mark.parametrize("passes", range(5))
async def test_it_ends_where_it_is_to_end_as_something_changes(passes: int) -> None:
    """What fails says so, and ends all others at that moment: nobody may miss the one for the other."""
    parts = AgentParts([log_section()])
    reporting_task = asyncio.create_task(parts.reporter.run())
    await asyncio.sleep(0)
    parts.reporter.changed()
    for _ in range(passes):
        await asyncio.sleep(0)
    reporting_task.cancel()
    done, _ = await asyncio.wait([reporting_task], timeout=5)
    assert done
