"""A server of today and one of before: each is spoken to in its version."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.control import DevicesReport, DongleInfo, RelaySide
from can_stream.protocol.lanes_control import LedgerEntry
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import head_of
from can_stream.protocol.packets import decode_packet
from edge_agent.host.clock import Clock
from edge_agent.uplink.connection import Answers
from edge_agent.uplink.hello import hello_of, new_start_id
from edge_agent.uplink.uplink import Uplink
from tests.helpers.conditions import running
from tests.helpers.uplink_server import UplinkServer, listening, streaming

START = new_start_id()
ACTIVATION = activation_name("ab" * 16, 1)
ROWS = [(1_000, 0x123, 0, 1, b"\1"), (2_000, 0x124, 0, 1, b"\2")]


def a_lane() -> LaneSender:
    """Three packets of two frames wait in it."""
    lane = LaneSender("van7-can0", "frames", START, WindowLimits())
    for _ in range(3):
        lane.take_frames(batch_of(ROWS), 0.0)
    return lane


async def at_once() -> None:
    """There is no spool."""


def an_uplink(
    server: UplinkServer, lane: LaneSender, spool_is_read: Callable[[], Awaitable[object]] = at_once
) -> Uplink:
    clock = Clock()
    answers = Answers(partial(hello_of, "van7", START, [], clock), spool_is_read=spool_is_read)
    return Uplink(server.url, "cea_agent_secret", answers, [lane], clock=clock)


@pytest.mark.parametrize("version", [1, 2])
async def test_both_versions_are_offered_the_newer_first(version: int) -> None:
    async with listening(version=version) as server, streaming(an_uplink(server, a_lane())):
        await server.lanes.until(1)
        assert server.offers == [["can-edge-agent.v2", "can-edge-agent.v1"]] * 2


async def test_a_server_of_today_is_told_positions_and_books() -> None:
    lane = a_lane()
    async with listening(version=2) as server, streaming(an_uplink(server, lane)):
        await server.packets.until(3)
        assert (server.hellos[0].protocol, server.lanes[0].protocol) == (2, 2)
        (opened,) = server.lanes[0].lanes
        assert (opened.next_frame, opened.complete, opened.starts) == (6, True, [LedgerEntry(START, 3, 6, 0)])
        assert [one.position for one in opened.backlog] == [0]
        assert [head_of(one.packet).position for one in server.packets] == [0, 2, 4]


async def test_a_server_of_before_hears_nothing_that_it_does_not_know() -> None:
    lane = a_lane()
    async with listening(version=1) as server, streaming(uplink := an_uplink(server, lane)):
        await server.packets.until(3)
        assert server.hellos[0].protocol == 1
        said = json.loads(server.texts[0])
        assert set(said) == {"type", "start_id", "lanes"}
        (opened,) = said["lanes"]
        assert set(opened) == {"dongle_id", "lane", "next_seq", "backlog"}
        assert [one[:4] for one in opened["backlog"]] == [[START, 1, 3, 6]]
        assert [one.packet[0] for one in server.packets] == [1, 1, 1], "the version of packets"
        packets = [decode_packet(one.packet) for one in server.packets]
        assert [packet.number.seq for packet in packets] == [1, 2, 3]
        for packet in packets:
            assert isinstance(packet.body, FrameBatch)
            assert packet.body.timestamp_ns.tolist() == [1_000, 2_000]
        await uplink.until(lambda: lane.is_empty)
        assert lane.acknowledged_frames == 6


async def test_a_server_of_before_is_greeted_once_the_spool_was_read() -> None:
    """What is not listed to it, it takes for lost."""
    is_asked, is_read = asyncio.Event(), asyncio.Event()

    async def spool_is_read() -> None:
        is_asked.set()
        await is_read.wait()

    async with listening(version=1) as server, running(an_uplink(server, a_lane(), spool_is_read).run()):
        await asyncio.wait_for(is_asked.wait(), 30)
        assert server.offers, "connected"
        assert not server.hellos
        is_read.set()
        await server.lanes.until(1)


async def test_what_is_carried_for_an_activation_says_its_age_and_the_servers_newest_ping() -> None:
    lane = a_lane()
    lane.take_marker(Marker(ACTIVATION), 0.0)
    lane.take_frames(batch_of(ROWS), 0.0, Clock().boottime_ns())
    async with listening(version=2) as server:
        server.wants_ages = True
        async with streaming(an_uplink(server, lane)):
            await server.packets.until(5)
            assert server.lanes[0].ages
            assert [one.activation for one in server.lanes[0].lanes[0].backlog] == [None, ACTIVATION]
            ages = [one.age for one in server.packets]
            assert all(age is not None for age in ages)
            assert [age.age_us is None for age in ages if age] == [True] * 4 + [False], "of old ones unknown"
            await server.ping(7)
            lane.take_frames(batch_of(ROWS), 0.0, Clock().boottime_ns())
            while (age := server.packets[-1].age) is None or not age.ping:
                lane.take_frames(batch_of(ROWS), 0.0, Clock().boottime_ns())
                await server.packets.until(len(server.packets) + 1)
            assert age.ping == 7
            assert age.age_us is not None
            assert 0 <= age.held_us < 60_000_000


async def test_what_is_carried_for_nothing_says_no_age() -> None:
    async with listening(version=2) as server:
        server.wants_ages = True
        async with streaming(an_uplink(server, a_lane())):
            await server.packets.until(3)
            assert [one.age for one in server.packets] == [None] * 3


async def test_a_server_of_before_gets_markers_without_ages_and_is_told_of_no_relay() -> None:
    lane = a_lane()
    lane.take_marker(Marker(ACTIVATION), 0.0)
    dongle = DongleInfo("van7-can0", "socketcan", "can0", relay=RelaySide(source=True))
    clock = Clock()
    answers = Answers(partial(hello_of, "van7", START, [dongle], clock))
    async with listening(version=1) as server:
        uplink = Uplink(server.url, "cea_agent_secret", answers, [lane], clock=clock)
        async with streaming(uplink):
            await server.packets.until(4)
            assert (server.hellos[0].relay, server.hellos[0].dongles[0].relay) == (False, None)
            uplink.say(DevicesReport([dongle]))
            (report,) = await server.until_said(DevicesReport)
            assert report.dongles[0].relay is None
            assert [one.age for one in server.packets] == [None] * 4


async def test_a_spent_budget_does_not_keep_back_what_is_relayed() -> None:
    lane, other = a_lane(), LaneSender("van7-can1", "frames", START, WindowLimits())
    clock = Clock()
    async with listening(version=2) as server:
        answers = Answers(partial(hello_of, "van7", START, [], clock))
        uplink = Uplink(server.url, "cea_agent_secret", answers, [lane, other], clock=clock)
        uplink.allow_bytes(0)
        async with streaming(uplink):
            other.take_marker(Marker(ACTIVATION), 0.0)
            other.take_frames(batch_of(ROWS), 0.0)
            await server.packets.until(2)
            assert [one.lane_index for one in server.packets] == [1, 1]


async def test_a_server_of_today_is_greeted_at_once() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async with listening(version=2) as server, streaming(an_uplink(server, a_lane(), never)):
        await server.packets.until(3)


async def test_what_is_wrong_with_the_servers_choice_costs_the_connection_alone() -> None:
    """One version on both connections."""
    async with listening(version=2) as server:
        uplink = an_uplink(server, a_lane())
        server.change_version = True
        async with running(uplink.run()):
            async with asyncio.timeout(30):
                await uplink.until(lambda: "one version on both connections expected" in uplink.state.message)
