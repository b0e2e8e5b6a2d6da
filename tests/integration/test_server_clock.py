"""What readers are told of frames that a clock stamped which nobody kept right."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.protocol.clock_record import ClockRecord
from tests.helpers.api_server import API, Api, Server, api_server, listen, next_event
from tests.helpers.signal_agent import SignalAgent, signal_agent, values_of
from tests.helpers.signal_tables import demo_samples, demo_table

SECOND = 1_000_000_000
# Started in 1970, right in 2025: 40 s after the boot it is 15:31:42.
RIGHT_NS = 1_766_417_462 * SECOND
WRONG = ClockRecord("boot-1", 5 * SECOND, synchronised=False)
SET = ClockRecord("boot-1", 100 * SECOND, synchronised=False)
RIGHT = ClockRecord("boot-1", RIGHT_NS, synchronised=True)
SAMPLES, _ = demo_samples()
FRAMES = f"{API}/dongles/van7-can0/frames"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


def frame(arbitration_id: int, uptime_seconds: int, clock: ClockRecord) -> FrameBatch:
    """One frame that came so long after the boot, as that clock stamps it."""
    return batch_of([(uptime_seconds * SECOND + clock.offset_ns, arbitration_id, 0, 1, b"\x01")])


async def connected(agent: SignalAgent, **changes: Any) -> SignalAgent:
    await agent.hello([], **{"boot_id": "boot-1", "clock_synchronised": False, **changes})
    await agent.open_data()
    return agent


async def records(viewer: Api, query: str = "") -> list[dict[str, Any]]:
    text = await viewer.get(f"{FRAMES}?format=jsonl{query}")
    found = [json.loads(line) for line in text.splitlines()]
    return [one for one in found if one["type"] == "can_frame"]


def shown(record: dict[str, Any]) -> tuple[str, str, bool, str | None]:
    """(id, time, whether it is marked, corrected time)."""
    return record["id"], record["ts"], "clock_synchronised" in record, record.get("corrected_ts")


async def test_frames_from_before_the_clock_was_right_are_marked_and_corrected_in_their_order(
    server: Server,
) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    agent.say_clock(WRONG)
    agent.hold(frames=frame(1, 10, WRONG))
    await connected(agent)
    assert [shown(one) for one in await records(viewer)] == [
        ("0x001", "1970-01-01T00:00:15.000000Z", True, None)
    ]
    agent.say_clock(SET)
    await agent.send(frames=frame(2, 20, SET))
    agent.say_clock(RIGHT)
    await agent.send(frames=frame(3, 40, RIGHT))
    assert [shown(one) for one in await records(viewer)] == [
        ("0x001", "1970-01-01T00:00:15.000000Z", True, "2025-12-22T15:31:12.000000Z"),
        ("0x002", "1970-01-01T00:02:00.000000Z", True, "2025-12-22T15:31:22.000000Z"),
        ("0x003", "2025-12-22T15:31:42.000000Z", False, None),
    ]
    candump = (await viewer.get(FRAMES)).decode().splitlines()
    assert [line.split()[0] for line in candump] == [
        "(0000000015.000000)", "(0000000120.000000)", "(1766417502.000000)"
    ]  # fmt: skip
    candump = (await viewer.get(f"{FRAMES}?clock=corrected")).decode().splitlines()
    assert [line.split()[0] for line in candump] == [
        "(1766417472.000000)", "(1766417482.000000)", "(1766417502.000000)"
    ]  # fmt: skip
    # A part of the recording is chosen by the times as they are recorded.
    assert [one["id"] for one in await records(viewer, "&to=1970-01-01T00:01:00Z")] == ["0x001"]
    assert [one["id"] for one in await records(viewer, "&from=2025-01-01T00:00:00Z")] == ["0x003"]
    status, answer, _ = await viewer.ask("GET", f"{FRAMES}?clock=right")
    assert (status, answer["details"]) == (400, {"field": "clock"})


async def test_marks_stand_beside_what_a_database_knows(server: Server) -> None:
    agent, viewer, table = await signal_agent(server), await server.user("viewer"), demo_table()
    await agent.hello([table], boot_id="boot-1", clock_synchronised=False)
    await agent.give(table)
    await agent.open_data()
    agent.say_clock(WRONG)
    await agent.send(frames=SAMPLES, values=values_of(table, SAMPLES))
    agent.say_clock(RIGHT)
    await agent.settle()
    found = await records(viewer)
    assert len(found) == len(SAMPLES)
    assert all(one["clock_synchronised"] is False and "corrected_ts" in one for one in found)
    assert any("signals" in one for one in found)


async def test_an_earlier_start_of_the_same_boot_is_corrected_by_a_later_one(server: Server) -> None:
    api, viewer = await server.agent(), await server.user("viewer")
    first = SignalAgent(api, start_id="00000000000000a1")
    first.say_clock(WRONG)
    first.hold(frames=frame(1, 10, WRONG))
    await connected(first)
    # The agent starts again, finds its clock right, and so says nothing of it but in hello.
    second = SignalAgent(api, start_id="00000000000000a2")
    second.hold(frames=frame(2, 30, RIGHT))
    await connected(second, clock_synchronised=True, monotonic_ns=SECOND, wall_ns=RIGHT_NS + SECOND)
    assert [shown(one)[2:] for one in await records(viewer)] == [
        (True, "2025-12-22T15:31:12.000000Z"),
        (False, None),
    ]


async def test_another_boot_says_nothing_of_the_one_before(server: Server) -> None:
    api, viewer = await server.agent(), await server.user("viewer")
    first = SignalAgent(api, start_id="00000000000000a1")
    first.say_clock(WRONG)
    first.hold(frames=frame(1, 10, WRONG))
    await connected(first)
    second = SignalAgent(api, start_id="00000000000000a2")
    await connected(second, boot_id="boot-2", clock_synchronised=True, wall_ns=RIGHT_NS)
    assert [shown(one)[2:] for one in await records(viewer)] == [(True, None)]


async def test_a_hello_with_impossible_clocks_is_harmless(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    agent.say_clock(WRONG)
    agent.hold(frames=frame(1, 10, WRONG))
    await connected(agent, boot_id="b" * 500, clock_synchronised=True, monotonic_ns=2**63 - 1, wall_ns=0)
    assert [shown(one)[2:] for one in await records(viewer)] == [(True, None)]


async def test_the_console_marks_frames_while_the_clock_is_wrong_also_after_a_reconnection(
    server: Server,
) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    agent.say_clock(WRONG)
    await connected(agent)
    events = await listen(viewer, "van7-can0")
    await next_event(events, "presence")
    await agent.send(frames=frame(2, 11, WRONG))
    assert (await next_event(events, "can_frame"))["clock_synchronised"] is False
    await connected(agent)
    await agent.send(frames=frame(3, 12, WRONG))
    event = await next_event(events, "can_frame")
    assert (event["id"], event["clock_synchronised"]) == ("0x003", False)
    agent.say_clock(RIGHT)
    await agent.send(frames=frame(4, 13, RIGHT))
    event = await next_event(events, "can_frame")
    assert event["id"] == "0x004"
    assert "clock_synchronised" not in event


async def test_a_new_start_with_a_right_clock_is_not_marked(server: Server) -> None:
    api, viewer = await server.agent(), await server.user("viewer")
    first = SignalAgent(api, start_id="00000000000000a1")
    first.say_clock(WRONG)
    await connected(first)
    events = await listen(viewer, "van7-can0")
    await next_event(events, "presence")
    second = SignalAgent(api, start_id="00000000000000a2")
    await connected(second, clock_synchronised=True, wall_ns=RIGHT_NS)
    await second.send(frames=frame(5, 40, RIGHT))
    assert "clock_synchronised" not in await next_event(events, "can_frame")


async def test_values_are_marked_where_no_frames_are_sent(server: Server) -> None:
    agent, viewer, table = await signal_agent(server), await server.user("viewer"), demo_table()
    await agent.hello([table], "off", boot_id="boot-1", clock_synchronised=False)
    await agent.give(table)
    agent.say_clock(WRONG)
    await agent.open_data()
    events = await listen(viewer, "van7-can0")
    await next_event(events, "presence")
    await agent.send(values=values_of(table, SAMPLES))
    assert (await next_event(events, "signals"))["clock_synchronised"] is False
