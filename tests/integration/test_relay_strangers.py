"""What comes under the name of a group's source and is not made for the group, and a sink that is away: the
server hands nothing of the one, and the other gets what is young enough when it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from can_stream.protocol.marker import activation_name
from can_stream.protocol.packets import decode_packet
from can_stream.protocol.relay_control import Totals
from can_stream.protocol.relay_items import Item
from tests.helpers.api_server import api_server, eventually
from tests.helpers.relay_agents import SinkOfTest, Source, greets, listed
from tests.integration.test_server_relay import START, Bridge, recorded, relaying, token

OTHER_START: Final = "00000000000000b2"
OLD_US: Final = 31_000_000


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with api_server(tmp_path) as server:
        yield await Bridge(server).connect()


async def is_displaced(source: Source) -> bool:
    """Whoever comes last under a name speaks for it."""
    while (await source.socket.receive(timeout=10)).type is aiohttp.WSMsgType.BINARY:
        pass
    return source.socket.closed


async def test_what_comes_under_the_sources_name_unmarked_is_not_relayed(bridge: Bridge) -> None:
    source, sink, activation = await relaying(bridge)
    await source.frame()
    assert await sink.positions(1) == [1]
    stranger = Source(bridge.seven, "can0", OTHER_START)  # a log that is played again, or a second machine
    await stranger.connect()
    assert await is_displaced(source)
    await stranger.pinged()
    await stranger.frame()
    for marked in (activation_name("cd" * 16, 1), activation[:-1] + "9", ""):
        await stranger.mark(marked)
        await stranger.frame()
    await source.connect()
    await source.pinged()
    honest = [await source.frame() for _ in range(5)]
    assert [await handed(sink) for _ in honest] == [(START, position) for position in honest]
    state = await bridge.state()
    assert state["activation"] == activation
    assert state["buffered_frames_a_to_b"] <= 6, "nothing of the stranger waits"


async def away(bridge: Bridge, sink: SinkOfTest) -> None:
    """B is gone, and the group says so."""
    await sink.socket.close()
    await bridge.other.close()

    async def is_said() -> bool:
        state = await bridge.state()
        return (state["mode"], state["reason"], state["offline_side"]) == ("degraded", "offline_side", "B")

    await eventually(is_said)


async def comes_back(bridge: Bridge, sink: SinkOfTest) -> SinkOfTest:
    """B is there again, with what it knew."""
    bridge.other = await greets(bridge.eight, "van8", [listed("can8")])
    again = SinkOfTest(bridge.eight, "can8")
    again.cursors = sink.cursors
    await again.connect()
    return again


async def handed(sink: SinkOfTest) -> tuple[str, int]:
    """The start and position of the next thing, which is an item."""
    item = await sink.next()
    assert isinstance(item, Item), item
    packet = decode_packet(item.packet)
    assert packet.position is not None
    return packet.number.start_id, packet.position


async def offline(bridge: Bridge, source: Source, sink: SinkOfTest) -> None:
    """B is away while five frames come that grow too old, and ten that do not."""
    await away(bridge, sink)
    for _ in range(5):
        await source.frame(OLD_US)
    for _ in range(10):
        await source.frame()

    async def is_counted() -> bool:
        return bool((await bridge.state())["buffered_frames_a_to_b"] >= 10)

    await eventually(is_counted)
    await eventually(lambda: recorded(bridge, 17))


async def catches_up(bridge: Bridge, sink: SinkOfTest) -> None:
    """The old ones are counts, then come the young ones in order; settled, the group is active."""
    old = 0
    while old < 5:
        counts = await sink.counts()
        assert (counts.reason, counts.first) == ("too_old", 2 + old)
        old += counts.frames
    assert [await handed(sink) for _ in range(10)] == [(START, position) for position in range(7, 17)]
    await sink.settle("can0", START, 17, Totals(sent=11, not_sent={"too_old": 5}))

    async def is_active() -> bool:
        state = await bridge.state()
        counted = state["sent_a_to_b"], state["not_sent_a_to_b"], state["buffered_frames_a_to_b"]
        return bool(state["mode"] == "active" and counted == (11, {"too_old": 5}, 0))

    await eventually(is_active)


async def begins(bridge: Bridge) -> tuple[Source, SinkOfTest]:
    """One frame has gone its way."""
    source, sink, _ = await relaying(bridge)
    await source.frame()
    assert await handed(sink) == (START, 1)
    await sink.settle("can0", START, 2, Totals(sent=1))
    return source, sink


async def test_a_sink_that_was_away_gets_what_is_young_enough_in_order(bridge: Bridge) -> None:
    source, sink = await begins(bridge)
    await offline(bridge, source, sink)
    again = await comes_back(bridge, sink)
    await catches_up(bridge, again)
    position = await source.frame()
    assert await handed(again) == (START, position)


async def test_a_server_that_is_restarted_while_the_sink_is_away_changes_nothing(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server:
        bridge = await Bridge(server).connect()
        source, sink = await begins(bridge)
        await offline(bridge, source, sink)
        tokens = token(bridge.seven), token(bridge.eight)
    async with api_server(tmp_path) as server:
        bridge = await Bridge(server).connect(*tokens)
        await catches_up(bridge, await comes_back(bridge, sink))
